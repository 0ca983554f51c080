"""Measures the whole loop: votes of a known taste over HTTP, one retraining, win rate on fresh prompts.

    python -m benchmarks.loop --labeller asks-back --labeller brief --comparisons 100

For each labeller a service of its own is started with the bundled model. Printed and stored are the minutes
from the button to the verdict (row P6) and the win rate of the new version over the old by the labeller's
noiseless score, ties one half (row L1: the worst labeller's).
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.results import Measurement, print_table
from benchmarks.service import Service, running_service

POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Round:
    """What one labeller's round of the loop gave."""

    labeller: str
    minutes: float
    gate: dict[str, Any]
    is_served: bool
    win_rate: dict[str, Any]


def main() -> None:
    options = parse_arguments()
    rounds = [run_round(labeller, options) for labeller in options.labeller]
    print_rounds(rounds)
    write_rows(rounds, options)


def run_round(labeller: str, options: argparse.Namespace) -> Round:
    """Votes, button, verdict, win rate, on a fresh data folder."""
    folder = Path(tempfile.mkdtemp(prefix="rapport-loop-"))
    try:
        with running_service(folder, preset=options.preset) as service:
            before = serving_version(service)
            service.rapport(
                "simulate",
                *("--labeller", labeller, "--comparisons", str(options.comparisons)),
                *("--noise", str(options.noise), "--seed", str(options.seed), "--url", service.url),
            )
            job, minutes = retrain(service)
            candidate = int(job["result"]["policy_id"])
            won = service.rapport(
                "winrate",
                *(str(candidate), str(before), "--labeller", labeller, "--prompts", str(options.prompts)),
                *("--seed", str(options.seed), "--json"),
            )
            return Round(
                labeller=labeller,
                minutes=minutes,
                gate=gate_report(service, candidate),
                is_served=serving_version(service) == candidate,
                win_rate=json.loads(won),
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def retrain(service: Service) -> tuple[dict[str, Any], float]:
    """Press the button and follow the job to its end; return it and the minutes it took."""
    began = time.monotonic()
    with httpx.Client(base_url=service.url, timeout=60) as client:
        started = client.post("/api/retrainings", json={}).raise_for_status().json()
        while True:
            time.sleep(POLL_SECONDS)
            answer = client.get(f"/api/retrainings/{started['job_id']}").raise_for_status().json()
            job: dict[str, Any] = answer["job"]
            if job["state"] not in ("queued", "running"):
                break
    if job["state"] != "succeeded":
        raise SystemExit(f"Retraining {job['id']} {job['state']}: {job['error']}")
    return job, (time.monotonic() - began) / 60


def serving_version(service: Service) -> int:
    """The number of the version that answers now."""
    versions = httpx.get(f"{service.url}/api/versions", timeout=60).raise_for_status().json()
    return next(int(version["id"]) for version in versions if version["state"] == "serving")


def gate_report(service: Service, version_id: int) -> dict[str, Any]:
    """What the gate measured, with its samples before and after."""
    version = httpx.get(f"{service.url}/api/versions/{version_id}", timeout=60).raise_for_status().json()
    report: dict[str, Any] = version["metrics"]["gate"]
    return report


def print_rounds(rounds: list[Round]) -> None:
    """One line per labeller."""
    print_table(
        [
            ("labeller", "minutes", "verdict", "served", "win rate", "95 % interval", "distinct-2 of before"),
            *(
                (
                    one.labeller,
                    f"{one.minutes:.1f}",
                    str(one.gate["verdict"]),
                    "yes" if one.is_served else "no",
                    f"{one.win_rate['rate']:.1%}",
                    f"{one.win_rate['low']:.1%} to {one.win_rate['high']:.1%}",
                    f"{one.win_rate['style_a']['distinct_2'] / one.win_rate['style_b']['distinct_2']:.0%}",
                )
                for one in rounds
            ),
        ]
    )


def write_rows(rounds: list[Round], options: argparse.Namespace) -> None:
    """Store the slowest round as P6 and the worst win rate as L1."""
    labellers = " ".join(f"--labeller {one.labeller}" for one in rounds)
    command = (
        f"python -m benchmarks.loop {labellers} --comparisons {options.comparisons} "
        f"--noise {options.noise} --seed {options.seed} --preset {options.preset} --prompts {options.prompts}"
    )
    detail = {
        one.labeller: {"minutes": one.minutes, "gate": one.gate, "win_rate": one.win_rate} for one in rounds
    }
    slowest, worst = max(one.minutes for one in rounds), min(rounds, key=lambda one: one.win_rate["rate"])
    minutes = sorted(one.minutes for one in rounds)
    Measurement(
        row="P6",
        measure=f"minutes from button to verdict, {options.comparisons} comparisons, {options.preset} preset",
        value=round(slowest, 2),
        unit="minutes",
        baseline="none",
        spread=[round(minutes[0], 2), round(minutes[-1], 2)],
        command=command,
    ).write()
    Measurement(
        row="L1",
        measure=f"win rate of the new version over the old, {options.comparisons} comparisons with "
        f"{options.noise:.0%} noise, {options.prompts} fresh prompts, ties one half",
        value=round(worst.win_rate["rate"], 4),
        unit="share",
        baseline="the version before the retraining (one half)",
        spread=[worst.win_rate["low"], worst.win_rate["high"]],
        command=command,
        detail=detail,
    ).write()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--labeller", action="append", default=None, help="repeatable; default: asks-back")
    parser.add_argument("--comparisons", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--preset", default="quick")
    options = parser.parse_args()
    options.labeller = options.labeller or ["asks-back"]
    return options


if __name__ == "__main__":
    main()
