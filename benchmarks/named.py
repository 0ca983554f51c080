"""Reads NAME=PATH from a command line."""

from __future__ import annotations

import argparse
from pathlib import Path


def named_path(text: str) -> tuple[str, Path]:
    """The name and the path; an argument of another form, or a path where nothing is, ends the command."""
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f'"{text}" is not NAME=PATH')
    if not Path(path).exists():
        raise argparse.ArgumentTypeError(f"there is no {path}")
    return name, Path(path)
