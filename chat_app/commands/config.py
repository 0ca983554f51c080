"""`rapport config`: prints the resolved settings, without secrets."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from chat_app.settings import PREFIX, load_settings


def config(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print every setting as the environment variable that changes it."""
    tree = load_settings().printable()
    if as_json:
        typer.echo(json.dumps(tree, indent=2))
        return
    for name, value in lines(tree, PREFIX):
        typer.echo(f"{name}={value}")


def lines(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Each leaf with the name of its variable."""
    for name, value in tree.items():
        key = f"{prefix}{name}".upper()
        if isinstance(value, Mapping):
            yield from lines(value, f"{key}__")
        else:
            yield key, "" if value is None else " ".join(value) if isinstance(value, list) else str(value)
