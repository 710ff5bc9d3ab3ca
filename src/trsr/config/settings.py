"""The base of all settings: pydantic models that refuse unknown keys and round-trip through YAML."""

from collections.abc import Collection
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trsr.errors import ConfigError

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_settings(kind: type[S], values: Any, place: str) -> S:
    """Validate plain values into `kind`.

    Raises `ConfigError` with one line that names `place`, the field and what is wrong.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{place}: expected a mapping of settings, found {type(values).__name__}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = "".join(f"{part}." for part in first["loc"])[:-1] + ": " if first["loc"] else ""
        known = _known_keys(kind, first["loc"][:-1]) if first["type"] == "extra_forbidden" else ""
        what = f"unknown setting{known}" if known else first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{place}: {field}{what}") from None


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The settings class of a field that is a section of its own, also of one that may be left out."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)


def _known_keys(kind: type[BaseModel], path: tuple[int | str, ...]) -> str:
    for part in path:
        section = section_of(kind.model_fields[str(part)].annotation)
        assert section is not None  # the setting that is unknown stands in it
        kind = section
    return f"; known here: {', '.join(kind.model_fields)}"


def read_yaml(path: Path) -> Any:
    """The plain values of a YAML file; `ConfigError` if it cannot be read as one."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (yaml.YAMLError, ValueError, OSError) as error:  # ValueError: no UTF-8, or a date such as 2024-13-45
        raise ConfigError(f"{path}: not readable as YAML: {str(error).splitlines()[0]}") from None


def dump_yaml(settings: Settings) -> str:
    """YAML text that `parse_settings` reads back to an equal object."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def flat_settings(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested plain values by dotted key, `training.learning_rate`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flat_settings(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def short_key(key: str, keys: Collection[str]) -> str:
    """The last part of a dotted key, the whole key where another one of `keys` ends alike."""
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in keys) > 1 else last
