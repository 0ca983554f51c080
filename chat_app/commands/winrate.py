"""`rapport winrate`: how often one version beats another by a labeller's taste, on held-out prompts."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from chat_app.errors import NotFound
from chat_app.settings import load_settings

if TYPE_CHECKING:
    from training.registry import Registry, VersionInfo
    from training.winrate import WinRate

WRITING = ("sft", "base", "policy")


def winrate(
    version_a: Annotated[str, typer.Argument(help="Number or name of a version.")],
    version_b: Annotated[str, typer.Argument(help="Number or name of the version it is compared with.")],
    labeller: Annotated[
        str, typer.Option(help="A built-in taste, or path/to/file.py:function (its code is run).")
    ] = "asks-back",
    prompts: Annotated[int, typer.Option(help="How many fresh prompts.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Of the choice of prompts and of sampling.")] = 0,
    best_of: Annotated[
        int, typer.Option(help="Let A take the best of this many samples: its headroom.", min=1, max=1024)
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure on fresh prompts how often version A is liked better than version B; ties count one half."""
    from chat_app.records import open_records
    from feedback.prompts import prompts_of_part
    from training.generation import DecodingParameters
    from training.labellers import load_labeller
    from training.versions import load_policy
    from training.winrate import Contest, Contestant, sample_prompts, win_rate

    settings = load_settings()
    taste = load_labeller(labeller)
    records = open_records(settings)
    a, b = (find_version(records.registry, key) for key in (version_a, version_b))
    with records.database.read() as session:
        heldout = [prompt.messages for prompt in prompts_of_part(session=session, part="heldout")]
    contest = Contest(
        prompts=sample_prompts(heldout, prompts, seed),
        labeller=taste,
        labeller_name=labeller,
        parameters=DecodingParameters(**settings.decoding.model_dump()),
        seed=seed,
    )
    result = win_rate(
        Contestant(a.name, load_policy(records.registry, a.id), best_of),
        Contestant(b.name, load_policy(records.registry, b.id)),
        contest,
    )
    typer.echo(json.dumps(result.as_dict(), indent=2) if as_json else table(result))


def find_version(registry: "Registry", key: str) -> "VersionInfo":
    """Find a version that can chat by number or name. Raises NotFound."""
    for version in registry.list():
        if key in (str(version.id), version.name) and version.kind in WRITING:
            return version
    raise NotFound("chat model version", f'"{key}"; `rapport versions list` shows those there are')


def table(result: "WinRate") -> str:
    """The result as a few lines of text."""
    rows = [
        ("", result.version_a, result.version_b),
        ("mean score", f"{result.style_a.mean_score:.3f}", f"{result.style_b.mean_score:.3f}"),
        ("mean words", f"{result.style_a.mean_words:.1f}", f"{result.style_b.mean_words:.1f}"),
        ("distinct-2", f"{result.style_a.distinct_2:.3f}", f"{result.style_b.distinct_2:.3f}"),
        ("ended by itself", f"{result.style_a.share_ended:.0%}", f"{result.style_b.share_ended:.0%}"),
    ]
    verdict = {True: "better, with 95 % certainty", False: "not shown to be better"}[result.is_better]
    return "\n".join(
        [
            f"{result.version_a} against {result.version_b} by {result.labeller}, {result.prompts} held-out "
            f"prompts, seed {result.seed}",
            f"win rate {result.rate:.1%} (95 % interval {result.low:.1%} to {result.high:.1%}): {verdict}",
            f"{result.wins} wins, {result.ties} ties, {result.losses} losses; a tie counts one half",
            *(f"{name:<16} {left:>14} {right:>14}" for name, left, right in rows),
        ]
    )
