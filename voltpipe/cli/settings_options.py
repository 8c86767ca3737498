"""Command-line options derived from settings, which alone define name, type, default and help."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import click
from pydantic import ValidationError

from voltpipe.errors import VoltpipeError
from voltpipe.schema import Settings, setting_help

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=Settings)


class OptionError(VoltpipeError):
    """An option out of bounds."""


def settings_options(settings: type[Settings], *, leave_out: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Add an option for each setting to a command. An option that is not given is None."""

    def decorate(command: F) -> F:
        for name, field in reversed(settings.model_fields.items()):
            if name not in leave_out:
                kind, many = _kind(field.annotation)
                default = field.default
                default_text = ", ".join(map(str, default)) if isinstance(default, tuple) else default
                help_text = setting_help(field) + (
                    f" [default: {default_text}]" if default_text not in (None, "") else ""
                )
                flag = f"{_flag(name)}/--no-{_flag(name).removeprefix('--')}" if kind is bool else _flag(name)
                option = click.option(flag, name, type=kind, multiple=many, default=None, help=help_text)
                command = option(command)
        return command

    return decorate


def settings_from_options(settings: type[S], options: Mapping[str, Any], **fixed: Any) -> S:
    """Return the settings in a command's options.

    Raises:
        OptionError: options are out of bounds; the message names each with its bound.
    """
    given = {
        name: value for name, value in options.items() if name in settings.model_fields and value not in (None, ())
    }
    try:
        return settings.model_validate({**given, **fixed})
    except ValidationError as error:
        problems = "; ".join(
            f"{_flag(str(e['loc'][0]))} {e['input']!r}: {e['msg']}" if e["loc"] else e["msg"] for e in error.errors()
        )
        raise OptionError(
            f"Invalid options: {problems}. Nothing was started; correct them and repeat the command.",
            code="option-out-of-bounds",
        ) from None


def _flag(name: str) -> str:
    """Return a setting's option, e.g. `--budget-s` for `budget_s` and `--recordings` for `n_recordings`."""
    return f"--{name.removeprefix('n_').replace('_', '-')}"


def _kind(annotation: Any) -> tuple[Any, bool]:
    """Return Click's type for a setting, and whether the option may be given several times."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        (annotation,) = [part for part in get_args(annotation) if part is not NoneType]
        origin = get_origin(annotation)
    if origin is tuple:
        first, *others = get_args(annotation)
        if others != [Ellipsis]:
            return (first, *others), False
        return get_args(first) or first, True
    if issubclass(annotation, StrEnum):
        return click.Choice([member.value for member in annotation]), False
    return annotation, False
