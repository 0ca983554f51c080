"""Writes a measurement to benchmarks/results/<row>.json and prints it as a table."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row: `value` is its least favourable figure, in `unit`; `baseline` what it was held against."""

    row: str
    measure: str
    value: float
    unit: str
    baseline: str
    spread: Any
    command: str
    detail: dict[str, Any] = field(default_factory=dict)

    def write(self) -> Path:
        """Store the row with the machine and the date, and return the file."""
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{self.row}.json"
        content = {**asdict(self), "machine": machine(), "date": datetime.now(UTC).date().isoformat()}
        del content["row"]
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def shown_path(path: Path) -> str:
    """A path as a result names it: within the repository where it lies there, else its last part alone."""
    whole, root = path.resolve(), FOLDER.parent.parent
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else whole.name


def machine() -> str:
    """The processor, cores and system this was measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
