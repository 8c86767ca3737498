"""Op config derived from settings: the form in the launchpad, and the check of bounds before a launch.

Each group of settings becomes a `dg.Config` class with the same names, defaults and descriptions. Dagster validates it
only when a step begins. Bounds are therefore checked in a config function (`dg.configured`, or
`dg.ConfigMapping` for a graph), which Dagster calls while it resolves a launch, before it creates the run.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import dagster as dg
from pydantic import Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from voltpipe.errors import VoltpipeError
from voltpipe.schema import Settings, setting_help

S = TypeVar("S", bound=Settings)


class OpConfigError(VoltpipeError, dg.DagsterError):
    """Settings out of bounds. It is a DagsterError so that Dagster shows its message without wrapping it."""


def config_class(settings: type[Settings]) -> type[dg.Config]:
    """Return the `dg.Config` class of a group of settings."""
    fields: dict[str, Any] = {name: _field(field) for name, field in settings.model_fields.items()}
    name = f"{settings.__name__.removesuffix('Settings')}Config"
    return create_model(name, __base__=dg.Config, __doc__=settings.__doc__, **fields)


def op_config_schema(settings: type[Settings]) -> Any:
    """Return the config schema of an op or asset. A launch with settings out of bounds raises OpConfigError."""
    fields = config_class(settings).to_fields_dict()
    # Only an op's `configured` gives a schema with a config function; the op itself is never run.
    op = dg.OpDefinition(name=settings.__name__, compute_fn=lambda: None, config_schema=fields)
    return op.configured(partial(_check_bounds, settings), name=settings.__name__, config_schema=fields).config_schema


def settings_from_config(settings: type[S], config: Mapping[str, Any]) -> S:
    """Return the settings in an op's config.

    Raises:
        OpConfigError: settings are out of bounds; the message names each with its bound.
    """
    try:
        return settings.model_validate(dict(config))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" if e["loc"] else e["msg"]
            for e in error.errors()
        )
        raise OpConfigError(
            f"{problems}. {settings.__name__} refused; nothing was started. Correct these settings.",
            code="settings-out-of-bounds",
        ) from error


def as_op_config(op_name: str, settings: type[Settings]) -> dg.ConfigMapping:
    """Return the config of a graph-backed asset, which passes all of it to its op `op_name`."""
    return dg.ConfigMapping(
        config_fn=lambda config: {op_name: {"config": _check_bounds(settings, config)}},
        config_schema=config_class(settings).to_fields_dict(),
    )


def _check_bounds(settings: type[Settings], config: dict[str, Any]) -> dict[str, Any]:
    settings_from_config(settings, config)
    return config


def _field(field: FieldInfo) -> tuple[Any, Any]:
    """Return a field's type and default in a form that Dagster accepts: choices as literals, tuples as lists."""
    default = field.default
    default = list(default) if isinstance(default, tuple) else getattr(default, "value", default)
    return _type(field.annotation), Field(default, description=setting_help(field))


def _type(annotation: Any) -> Any:
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        (inner,) = [part for part in get_args(annotation) if part is not NoneType]
        return _type(inner) | None
    if origin is tuple:
        return list[_type(get_args(annotation)[0])]  # type: ignore[misc]
    if issubclass(annotation, StrEnum):
        return Literal[tuple(member.value for member in annotation)]
    return annotation
