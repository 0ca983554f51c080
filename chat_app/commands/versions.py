"""`rapport versions`: lists model versions and decides which one answers."""

from typing import Annotated, Any

import typer

from chat_app.errors import StartFailed
from chat_app.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Model versions: list, promote, roll back.")

VersionId = Annotated[int, typer.Argument(help="The number of the version.", min=1)]


@app.command("list")
def list_versions() -> None:
    """List the versions, the newest first."""
    records, service = _service()
    for version in service.list(records.you):
        gate = version.metrics.get("gate", {}).get("verdict", "")
        typer.echo(
            f"{version.id:>5}  {version.name:<16} {version.kind:<7} {version.state:<10} {gate}".rstrip()
        )


@app.command("promote")
def promote(
    version_id: VersionId,
    anyway: Annotated[bool, typer.Option("--anyway", help="Against the gate's verdict; audited.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; needed with --anyway.")] = None,
) -> None:
    """Serve a version from now on; a running app follows within two seconds."""
    if reason is not None and not anyway:
        raise StartFailed("--reason goes with --anyway. Leave it out, or add --anyway.")
    records, service = _service()
    if anyway:
        version = service.promote_anyway(records.you, version_id, reason or "")
    else:
        version = service.promote(records.you, version_id)
    typer.echo(f"Version {version.name} serves now.")


@app.command("roll-back")
def roll_back() -> None:
    """Serve the version that was served before."""
    records, service = _service()
    typer.echo(f"Version {service.roll_back(records.you).name} serves again.")


def _service() -> tuple[Any, Any]:
    from chat_app.records import open_records
    from chat_app.services.versions import VersionService

    records = open_records(load_settings())
    return records, VersionService(registry=records.registry)
