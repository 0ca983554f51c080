"""Compares blocks, sizes, vocabularies and optimisers for the bundled model at equal training time.

    python -m benchmarks.sizes --data DIR --comparisons FILE --out DIR --minutes 2.5

Each candidate is pretrained for the same minutes on the same text; then its held-out loss (in bits per byte, since
tokenizers differ), its decoding speed and the accuracy of a reward model upon it are measured. `--comparisons` is a
file of {"prompt", "chosen", "rejected"} message lists. Finished candidates in `--out` are not trained again.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.decode_speed import measure_decode_speed
from benchmarks.language_model import ALL, model_losses, open_run
from benchmarks.results import Measurement, print_table
from feedback.dataset import SnapshotRecord
from feedback.preference import messages_from, prompt_hash
from training.learning_settings import PretrainSettings
from training.loading import load_language_model
from training.numerics import probe_numerics
from training.pretrain import pretrain
from training.reporting import SilentReporter
from training.reward.train import train_reward
from training.settings import RewardSettings

CANDIDATES: dict[str, dict[str, Any]] = {
    "llama 288×6, 6k, Muon 4e-3": {"learning_rate": 4e-3},
    "llama 288×6, 6k, Muon 8e-3": {"learning_rate": 8e-3},
    "gpt2 288×6, 6k, Muon 4e-3": {"architecture": "gpt2", "learning_rate": 4e-3},
    "gpt2 288×6, 6k, AdamW 1e-3": {"architecture": "gpt2", "optimizer": "adamw", "learning_rate": 1e-3},
    "llama 256×6, 4k, Muon 4e-3": {"vocab_size": 4096, "n_embd": 256, "n_head": 4, "learning_rate": 4e-3},
    "llama 288×6, 8k, Muon 4e-3": {"vocab_size": 8192, "learning_rate": 4e-3},
    "llama 384×10, 6k, Muon 4e-3": {"n_layer": 10, "n_embd": 384, "learning_rate": 4e-3},
}
NEW_TOKENS, PAIRS = 128, 3
REWARD_COMPARISONS = 400


@dataclass(frozen=True, slots=True)
class Row:
    """What one candidate came to in the time given."""

    name: str
    parameters: int
    tokens: int
    bits_per_byte: float
    tokens_per_second: float
    reward_accuracy: float


def main() -> None:
    options = parse_arguments()
    records = read_comparisons(options.comparisons)
    rows = []
    for number, (name, changes) in enumerate(CANDIDATES.items()):
        folder = options.out / f"candidate-{number}"
        if not (folder / "model").is_dir():
            pretrain(settings_of(options, folder, changes))
        rows.append(measure(name, folder, records))
        print_rows(rows)
    write_row(rows, options)


def settings_of(options: argparse.Namespace, folder: Path, changes: dict[str, Any]) -> PretrainSettings:
    """Everything but the candidate's own changes is the same for all; nothing is validated on the way."""
    common = {"data_dir": options.data, "recipe": options.recipe, "minutes": options.minutes}
    quiet = {"checkpoint_minutes": 1000, "validate_steps": 1_000_000}
    return PretrainSettings.model_validate({**common, **quiet, "output_dir": folder, **changes})


def measure(name: str, folder: Path, records: list[SnapshotRecord]) -> Row:
    """Loss on the run's held-out text, one stream's decoding speed, and a reward model's held-out accuracy."""
    record = json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))["result"]
    shards, chat_format = open_run(folder)
    losses = model_losses(load_language_model(folder / "model"), shards, chat_format)
    speed = measure_decode_speed(folder / "model", streams=1, pairs=PAIRS, new_tokens=NEW_TOKENS)
    return Row(
        name,
        record["parameters"],
        record["tokens"],
        losses[ALL].bits_per_byte,
        sorted(speed.ours)[PAIRS // 2],
        reward_accuracy(folder, records),
    )


def reward_accuracy(folder: Path, records: list[SnapshotRecord]) -> float:
    """Share of a quarter of the comparisons, kept apart, that a reward model trained on the rest gets right."""
    settings = RewardSettings(heldout_share=0.25)
    result = train_reward(
        records=records,
        anchor=load_language_model(folder / "model"),
        settings=settings,
        numerics=probe_numerics(compile_model=False),
        folder=folder / "reward",
        seed=0,
        reporter=SilentReporter(),
    )
    return result.metrics["heldout_accuracy"]


def read_comparisons(path: Path) -> list[SnapshotRecord]:
    """The first pairs of a file in TRL's conversational preference format, as if people had chosen so."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    pairs = [json.loads(line) for line in text.splitlines()[:REWARD_COMPARISONS]]
    return [_record(number, pair) for number, pair in enumerate(pairs)]


def _record(number: int, pair: dict[str, Any]) -> SnapshotRecord:
    prompt = messages_from(pair["prompt"])
    return SnapshotRecord(
        preference_id=number,
        comparison_id=number,
        user_id=0,
        prompt=prompt,
        prompt_hash=prompt_hash(prompt),
        completions=(pair["chosen"][-1]["content"], pair["rejected"][-1]["content"]),
        token_ids=((), ()),
        finish_reasons=("imported", "imported"),
        version_ids=(None, None),
        ranks=(1, 2),
        is_both_bad=False,
        part="training",
    )


def print_rows(rows: list[Row]) -> None:
    heading = ("candidate", "parameters", "tokens", "bits/byte", "decode tokens/s", "reward accuracy")
    print_table(
        [
            heading,
            *(
                (
                    row.name,
                    f"{row.parameters / 1e6:.2f} M",
                    f"{row.tokens / 1e6:.2f} M",
                    f"{row.bits_per_byte:.3f}",
                    f"{row.tokens_per_second:.0f}",
                    f"{row.reward_accuracy:.1%}",
                )
                for row in rows
            ),
        ]
    )


def write_row(rows: list[Row], options: argparse.Namespace) -> None:
    """Store the lowest loss, beside that of the first bundled model's block and optimiser."""
    best = min(rows, key=lambda row: row.bits_per_byte)
    before = next(row for row in rows if row.name.startswith("gpt2") and "AdamW" in row.name)
    Measurement(
        row="sizes",
        measure=f"held-out loss of {best.name} after {options.minutes:g} minutes",
        value=round(best.bits_per_byte, 4),
        unit="bits per UTF-8 byte",
        baseline=f"{before.name}: {before.bits_per_byte:.4f}",
        spread=[round(best.bits_per_byte, 4), round(max(row.bits_per_byte for row in rows), 4)],
        command=f"python -m benchmarks.sizes --minutes {options.minutes:g}",
        detail={row.name: dataclasses.asdict(row) for row in rows},
    ).write()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of training text")
    parser.add_argument("--recipe", type=Path, help="which of its files, and how often")
    parser.add_argument("--comparisons", type=Path, required=True, help="pairs for the reward model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the candidates")
    parser.add_argument("--minutes", type=float, default=2.5, help="training time of each candidate")
    return parser.parse_args()


if __name__ == "__main__":
    main()
