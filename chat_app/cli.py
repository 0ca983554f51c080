"""The command line: `rapport <command>`; errors are one clear paragraph and a fitting exit code."""

import sys
from typing import Annotated

import typer

from chat_app.commands import (
    config,
    doctor,
    jobs,
    models,
    retrain,
    serve,
    simulate,
    versions,
    winrate,
    worker,
)
from chat_app.commands.failures import explain
from chat_app.commands.logs import set_up_logging

app = typer.Typer(
    name="rapport",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Chat with a small GPT, say which answers you prefer, and let it learn from that.",
)
for command in (
    serve.serve,
    worker.worker,
    retrain.retrain,
    simulate.simulate,
    winrate.winrate,
    models.pretrain,
    models.sft,
    config.config,
    doctor.doctor,
):
    app.command()(command)
app.add_typer(jobs.app, name="jobs")
app.add_typer(versions.app, name="versions")


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Log more, and show tracebacks.")] = False,
) -> None:
    """Set up logging."""
    set_up_logging(debug=debug)


def main() -> None:
    """Run a command; exit with 1 and a paragraph when it fails, 130 when it is interrupted."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        unforeseen = f"Something went wrong that was not foreseen: {type(error).__name__}: {error}"
        print(explain(error) or f"{unforeseen}\nSee more with: rapport --debug …", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
