"""`rapport simulate`: a simulated person of known taste votes through the HTTP API of a running service."""

from typing import Annotated

import typer

from chat_app.settings import load_settings


def simulate(
    labeller: Annotated[
        str, typer.Option(help="A built-in taste, or path/to/file.py:function (its code is run).")
    ] = "asks-back",
    comparisons: Annotated[int, typer.Option(help="How many votes.")] = 100,
    noise: Annotated[float, typer.Option(help="Share of votes against the taste.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Which votes the noise turns.")] = 0,
    url: Annotated[str | None, typer.Option(help="Where the service is.")] = None,
    concurrency: Annotated[int, typer.Option(help="Pairs asked for at once.")] = 4,
    list_labellers: Annotated[bool, typer.Option("--list", help="Only list the built-in labellers.")] = False,
) -> None:
    """Vote as a simulated person would, to see the loop learn a taste."""
    from training.labellers import LABELLERS, load_labeller
    from training.simulate import SimulatedVote, SimulationPlan, connect
    from training.simulate import simulate as run

    if list_labellers:
        for name, function in LABELLERS.items():
            typer.echo(f"{name:<12} {(function.__doc__ or '').splitlines()[0]}")
        return
    plan = SimulationPlan(comparisons=comparisons, noise=noise, seed=seed, concurrency=concurrency)
    taste = load_labeller(labeller)
    every = max(1, comparisons // 10)

    def report(count: int, _vote: SimulatedVote) -> None:
        if count % every == 0 or count == comparisons:
            typer.echo(f"{count:>6} of {comparisons} votes")

    with connect(url or f"http://127.0.0.1:{load_settings().port}") as client:
        typer.echo(str(run(client=client, labeller=taste, plan=plan, on_vote=report)))
