"""Says in a few lines what a soak has measured, for the terminal and for its failures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.soak.record import StoredAnswer
from tests.soak.tally import Tally, percentile
from tests.soak.watch import Watch


def report(title: str, tally: Tally, watch: Watch, stored: Sequence[StoredAnswer]) -> str:
    """One figure per line, with its unit."""
    words = tally.first_words
    engine = [answer.first_token_seconds for answer in stored if answer.first_token_seconds is not None]
    first, second, last = watch.memory_thirds()
    endings = tally.endings()
    lines = [
        title,
        f"  answers            {len(tally.answers)}: {endings['read']} read, {endings['stopped']} stopped, "
        f"{endings['left']} left in mid-stream; {len(stored)} stored",
        "  acts               " + ", ".join(f"{act} {count}" for act, count in sorted(tally.acts.items())),
        f"  first word, page   p50 {percentile(words, 50):.2f} s, p95 {percentile(words, 95):.2f} s, "
        f"longest {max(words, default=float('nan')):.2f} s",
        f"  first token, engine p50 {percentile(engine, 50):.2f} s, p95 {percentile(engine, 95):.2f} s",
        f"  whole answer       p50 {percentile([a.seconds for a in tally.answers], 50):.2f} s",
        f"  tokens             {watch.tokens_per_second:.0f}/s over {watch.seconds:.0f} s, people thinking included",
        f"  longest queue      {watch.longest_queue} answers",
        f"  memory, by thirds  {first:.0f}, {second:.0f}, {last:.0f} MiB (median of each)",
        f"  processor          {watch.cores:.2f} cores busy with the service",
        f"  swaps              {watch.swaps}",
        "  " + listed("troubles", tally.troubles),
    ]
    return "\n".join(lines)


def listed(what: str, troubles: Iterable[object], most: int = 15) -> str:
    """The first troubles, one per line, and how many there are."""
    lines = [str(trouble) for trouble in troubles]
    shown = "".join(f"\n  - {line}" for line in lines[:most])
    more = f"\n  … and {len(lines) - most} more" if len(lines) > most else ""
    return f"{what}: {len(lines)}{shown}{more}"
