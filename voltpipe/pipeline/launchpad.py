"""The launchpad's form for a group of settings, derived from the settings themselves.

Types and choices are checked while one types; bounds when one launches, before anything runs.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import dagster as dg
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from voltpipe.errors import VoltpipeError
from voltpipe.settings import Settings, described

S = TypeVar("S", bound=Settings)

_SCALARS: dict[type, Any] = {bool: dg.Bool, int: dg.Int, float: dg.Float, str: dg.String}


class SettingsError(VoltpipeError, dg.DagsterError):
    """Settings out of bounds. A DagsterError, so that the launchpad shows the message and not a stack."""


def settings_schema(settings: type[Settings]) -> dg.Shape:
    """Each setting as a Dagster config field: type, default, and the description with its bounds."""
    fields = {name: _field(name, field) for name, field in settings.model_fields.items()}
    form = dg.Shape(fields)  # type: ignore[no-untyped-call]
    # Where Dagster checks the whole of a launch's config, ahead of every step. A Shape cannot be derived from.
    form.post_process = partial(_checked, settings)  # type: ignore[method-assign]
    return form


def settings_from(settings: type[S], config: Mapping[str, Any]) -> S:
    """Settings from a launchpad's config.

    Raises:
        SettingsError: naming each setting that is out of bounds, and the bound.
    """
    try:
        return settings.model_validate(dict(config))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" if e["loc"] else e["msg"]
            for e in error.errors()
        )
        raise SettingsError(f"{settings.__name__} refused, nothing was started: {problems}") from error


def handed_to(op_name: str, settings: type[Settings]) -> dg.ConfigMapping:
    """Config of a graph-backed asset, all of which is for its op `op_name`."""
    return dg.ConfigMapping(
        config_fn=lambda config: {op_name: {"config": config}}, config_schema=settings_schema(settings)
    )


def _checked(settings: type[Settings], config: dict[str, Any]) -> dict[str, Any]:
    settings_from(settings, config)
    return config


def _field(name: str, field: FieldInfo) -> dg.Field:
    assert field.default is not PydanticUndefined, f"setting {name} has no default"
    description = described(field)
    default = field.default
    if default is None:
        return dg.Field(_type(field.annotation), is_required=False, description=description)
    default = list(default) if isinstance(default, tuple) else getattr(default, "value", default)
    return dg.Field(_type(field.annotation), default_value=default, is_required=False, description=description)


def _type(annotation: Any) -> Any:
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        (inner,) = [part for part in get_args(annotation) if part is not NoneType]
        return dg.Noneable(_type(inner))
    if origin is tuple:
        return dg.Array(_type(get_args(annotation)[0]))
    if issubclass(annotation, StrEnum):
        return dg.Enum(annotation.__name__, [dg.EnumValue(member.value) for member in annotation])
    return _SCALARS[annotation]
