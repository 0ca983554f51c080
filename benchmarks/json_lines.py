"""Reads and writes files with one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def read_json_lines(path: Path, *keys: str) -> list[dict[str, Any]]:
    """All objects of a file, each with these keys; ends the command with file and line where one is not so."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise SystemExit(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(record, dict) or any(key not in record for key in keys):
            raise SystemExit(f"{path}:{number}: an object with {', '.join(keys)} was expected.")
        found.append(record)
    return found


def write_json_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one object per line, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8")
