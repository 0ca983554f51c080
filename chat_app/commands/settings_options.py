"""Makes a command's options of a settings class: each field's name, type, default and description, said once."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Settings = TypeVar("Settings", bound=BaseModel)


def options_of(
    settings: type[Settings], *, argument: str, names: Mapping[str, str]
) -> Callable[[Callable[[Settings], None]], Callable[..., None]]:
    """Turn a function of one settings object into a command with an option for each field.

    `argument` is the field that is given without an option's name; `names` are the options that are not called
    like their fields. Values that do not fit raise pydantic's ValidationError.
    """

    def decorate(run: Callable[[Settings], None]) -> Callable[..., None]:
        def command(**values: Any) -> None:
            run(settings.model_validate(values))

        fields = {argument: settings.model_fields[argument]} | settings.model_fields
        parameters = [_parameter(name, field, argument, names) for name, field in fields.items()]
        command.__name__, command.__doc__ = run.__name__, run.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        return command

    return decorate


def _parameter(name: str, field: FieldInfo, argument: str, names: Mapping[str, str]) -> inspect.Parameter:
    kind: Any = field.annotation
    default = inspect.Parameter.empty if field.is_required() else field.default
    if kind == tuple[Path, ...]:  # for typer an option that can be repeated is a list
        kind, default = list[Path], list(field.default)
    if name == argument:
        given = typer.Argument(help=field.description, metavar="DATA")
    else:
        given = typer.Option(names.get(name, f"--{name.replace('_', '-')}"), help=field.description)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, given]
    )
