"""Blind readings of two models' answers: a mixed sheet for the readers, and what two readers made of it.

    python -m benchmarks.readings make-sheet --answers new=FILE.json --answers first=FILE.json \\
        --sheet SHEET.md --key KEY.jsonl
    python -m benchmarks.readings score --key KEY.jsonl --ratings A.jsonl --ratings B.jsonl --docs docs/answers.md

The answers are those of `benchmarks.answers`: openings, third turns and Chinese openings. A reader sees the sheet
alone and writes a line `{"id": "r001", "rating": "sensible"}` (or "so-so", "nonsense") for each answer.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.agreement import RATINGS, Agreement
from benchmarks.answers import is_last_turn
from benchmarks.answers_page import answers_page, sheet
from benchmarks.json_lines import read_json_lines, write_json_lines
from benchmarks.named import named_path
from benchmarks.rated import (
    KINDS,
    READERS,
    Rated,
    Verdict,
    agreement_table,
    agreements,
    verdict_table,
    verdicts,
)
from benchmarks.results import Measurement, print_table

_KINDS = {"opening": "openings", "conversation": "third turns", "chinese": "Chinese"}


def main() -> None:
    options = parse_arguments()
    options.run(options)


def make_sheet(options: argparse.Namespace) -> None:
    """Mix the answers of the files; write what the readers see, and the key that tells the answers apart."""
    answers = [answer for named in options.answers for answer in read_answers(*named)]
    random.Random(options.seed).shuffle(answers)
    key = [{"id": f"r{number:03}", **answer} for number, answer in enumerate(answers, start=1)]
    write_json_lines(options.key, key)
    options.sheet.parent.mkdir(parents=True, exist_ok=True)
    options.sheet.write_text(sheet(key), encoding="utf-8")
    print(f"{len(key)} answers are in {options.sheet}; keep {options.key} from the readers.")


def score(options: argparse.Namespace) -> None:
    """Join the ratings with the key; print, store and write the page."""
    rated = read_rated(options.key, options.ratings)
    if (options.of, KINDS[0]) not in {(one.model, one.kind) for one in rated}:
        raise SystemExit(f'The key has no answer to openings by "{options.of}"; name another with --of.')
    found, agreed = verdicts(rated), agreements(rated)
    print_table(verdict_table(found))
    print()
    print_table(agreement_table(agreed))
    if options.docs:
        page = answers_page(rated, verdict_table(found), agreement_table(agreed))
        options.docs.write_text(page, encoding="utf-8")
    write_row(found, agreed, options)


def read_answers(name: str, file: Path) -> list[dict[str, Any]]:
    """The answers of a file that are to be read: model, kind, source_id, messages, answer."""
    stored = json.loads(file.read_text(encoding="utf-8"))["answers"]
    return [
        {
            **{"model": name, "kind": _KINDS[one["kind"]], "source_id": one["id"]},
            **{"messages": one["messages"], "answer": one["answer"]},
        }
        for one in stored
        if one["kind"] != "conversation" or is_last_turn(one["kind"], one["turn"])
    ]


def read_rated(key: Path, ratings: Sequence[Path]) -> list[Rated]:
    """The answers of the key with what both readers said; ends the command where there are not two."""
    if len(ratings) != len(READERS):
        raise SystemExit(f"There are {len(ratings)} files of ratings; give two, each with --ratings.")
    records = read_json_lines(key, "id", "model", "kind", "source_id", "messages", "answer")
    ids = [record["id"] for record in records]
    first, second = (read_ratings(path, ids) for path in ratings)
    return [Rated.of(record, (first[record["id"]], second[record["id"]])) for record in records]


def read_ratings(path: Path, ids: Sequence[str]) -> dict[str, str]:
    """One reader's word on each id; ends the command where one is missing, unknown, twice or another word."""
    found: dict[str, str] = {}
    for record in read_json_lines(path, "id", "rating"):
        if record["id"] in found:
            raise SystemExit(f"{path} rates {record['id']} twice; keep one of the lines.")
        if record["rating"] not in RATINGS:
            raise SystemExit(
                f'{path} rates {record["id"]} "{record["rating"]}"; use one of {", ".join(RATINGS)}.'
            )
        found[record["id"]] = record["rating"]
    missing, unknown = sorted(set(ids) - set(found)), sorted(set(found) - set(ids))
    if missing or unknown:
        raise SystemExit(
            f"{path} lacks {len(missing)} of {len(ids)} answers ({', '.join(missing[:5]) or 'none'}) "
            f"and has {len(unknown)} that the key lacks ({', '.join(unknown[:5]) or 'none'})."
        )
    return found


def write_row(found: Sequence[Verdict], agreed: Mapping[str, Agreement], options: argparse.Namespace) -> None:
    """Store the share of sensible answers to openings, as both readers have it, with everything else beside it."""
    pooled = {(one.model, one.kind): one.shares["sensible"] for one in found if one.reader == "both"}
    share = pooled[options.of, KINDS[0]]
    others = [
        f"{model}: {one.share:.3f}"
        for (model, kind), one in pooled.items()
        if kind == KINDS[0] and model != options.of
    ]
    Measurement(
        row="readings",
        measure=f"sensible answers to openings by two blind readings, model {options.of}",
        value=round(share.share, 4),
        unit="share",
        baseline=", ".join(others) or "none",
        spread=[round(share.low, 4), round(share.high, 4)],
        command="python -m benchmarks.readings score",
        detail={
            "verdicts": [asdict(one) for one in found],
            "agreement": {name: asdict(one) for name, one in agreed.items()},
        },
    ).write()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    making = commands.add_parser("make-sheet", help="mix two models' answers for blind readers")
    making.add_argument(
        "--answers", type=named_path, action="append", required=True, help="NAME=FILE.json, repeatable"
    )
    making.add_argument("--sheet", type=Path, required=True, help="markdown for the readers")
    making.add_argument("--key", type=Path, required=True, help="JSON lines that say whose each answer is")
    making.add_argument("--seed", type=int, default=0)
    making.set_defaults(run=make_sheet)
    scoring = commands.add_parser("score", help="join two readers' ratings with the key")
    scoring.add_argument("--key", type=Path, required=True)
    scoring.add_argument("--ratings", type=Path, action="append", required=True, help="JSON lines, twice")
    scoring.add_argument("--of", default="new", help="the model that the stored row is about")
    scoring.add_argument("--docs", type=Path, help="page for all answers and ratings")
    scoring.set_defaults(run=score)
    return parser.parse_args()


if __name__ == "__main__":
    main()
