"""A grid: many experiments in one YAML file, a base and what is varied of it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import Field, model_validator

from trsr.config.experiment import ExperimentConfig, with_data_path
from trsr.config.settings import Seed, Settings, parse_settings, read_yaml, section_of, short_key
from trsr.errors import ConfigError

BASE = "base"
RECORD = "grid.json"
"""The file in a grid's folder that says what its cells are and how far they are."""
CONTROL = "recent"
"""The method that shows recent items in the place of a summary: what a summary has to beat."""
_OWN_KEYS = {"base", "experiment", "grid", "cells", "seeds"}
_SEED_KEYS = ("seed", "training.seed")
_LONGEST = 120  # characters of a cell's name, which is a folder's
_TAKEN_NAMES = (RECORD, "report.html", *(f"summaries.sqlite{end}" for end in ("", "-wal", "-shm")))

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class GridConfig(Settings):
    """One grid file.

    `base` is an experiment's file, relative to this one; `experiment` holds the settings of one instead. `grid` has
    values by dotted key (`prompt.recent_items`), of which every combination is a cell; `cells` has named cells, each
    by dotted key what it has other than the base, which is then a cell too. With `seeds`, every cell is run with each
    of them as `seed` and `training.seed`.
    """

    name: Name
    base: Path | None = None
    experiment: dict[str, Any] | None = None
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    cells: dict[Name, dict[str, Any]] = {}
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.base is None) == (self.experiment is None):
            raise ValueError("give either base (the file of an experiment) or experiment (its settings)")
        if not (self.grid or self.cells or self.seeds):
            raise ValueError("nothing is varied; give grid, cells or seeds")
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds names one twice; keep one of them")
        return self


@dataclass(frozen=True)
class Cell:
    """One experiment of a grid.

    `overrides` is what it has other than the base, by dotted key, without the seeds. Cells of one `group` differ in
    `seed` alone, which is None where the grid names no seeds.
    """

    name: str
    group: str
    overrides: Mapping[str, Any]
    seed: int | None
    config: ExperimentConfig


@dataclass(frozen=True)
class Grid:
    """The experiments of one grid file, in the order they run; `controlled` are groups that got the control method."""

    name: str
    base: str | None
    seeds: Sequence[int] | None
    cells: tuple[Cell, ...]
    controlled: tuple[str, ...]

    @property
    def varied(self) -> list[str]:
        """Dotted keys of all overrides, each once."""
        return list(dict.fromkeys(key for cell in self.cells for key in cell.overrides))


def is_grid(values: Any) -> bool:
    """Whether the plain values of a YAML file are a grid's, and not those of one experiment."""
    return isinstance(values, dict) and not _OWN_KEYS.isdisjoint(values)


def load_grid(path: Path) -> Grid:
    """Read one grid file and every experiment that it means.

    Raises `ConfigError` with one sentence that names the file, the cell or key, and what is known there.
    """
    config = parse_settings(GridConfig, read_yaml(path), str(path))
    base = _read_base(config, path)
    groups = list(_groups(config, path))
    wanted = [(name, overrides, _resolve(base, overrides, f"{path}: cell {name}")) for name, overrides in groups]
    if config.cells and BASE not in config.cells and base not in [experiment for _, _, experiment in wanted]:
        wanted.insert(0, (BASE, {}, base))
    controlled = [name for name, _, experiment in wanted if _needs_control(experiment)]
    wanted = [(name, overrides, _with_control(one, f"{path}: cell {name}")) for name, overrides, one in wanted]
    _refuse_doubles(wanted, path)
    cells = []
    for group, overrides, experiment in wanted:
        plain = with_data_path(experiment, path.parent)
        for seed in (None,) if config.seeds is None else config.seeds:
            name = group if seed is None else f"{group}--seed-{seed}"
            seeded = plain if seed is None else _resolve(plain, dict.fromkeys(_SEED_KEYS, seed), str(path))
            named = seeded.model_copy(update={"name": f"{config.name}.{name}"})
            cells.append(Cell(name, group, overrides, seed, named))
    shown_base = None if config.base is None else str(config.base)
    return Grid(config.name, shown_base, config.seeds, tuple(cells), tuple(controlled))


def _read_base(config: GridConfig, path: Path) -> ExperimentConfig:
    if config.base is None:
        values, place, folder = {"name": config.name} | (config.experiment or {}), f"{path}: experiment", path.parent
    else:
        file = path.parent / config.base
        values, place, folder = read_yaml(file), str(file), file.parent
        if is_grid(values):
            raise ConfigError(f"{path}: base: {file} is a grid itself; name the file of one experiment")
    return with_data_path(parse_settings(ExperimentConfig, values, place), folder)


def _groups(config: GridConfig, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and overrides of every combination and every named cell."""
    for where, keys in (("grid", config.grid), *((f"cells.{name}", cell) for name, cell in config.cells.items())):
        for key, value in keys.items():
            _check_key(key, f"{path}: {where}", leaves_out=value is None)
            _check_sections(keys, key, f"{path}: {where}")
            if config.seeds is not None and key in _SEED_KEYS:
                raise ConfigError(f"{path}: {where}: {key}: the grid names seeds, which set it; leave one of them out")
    if config.grid:
        for values in product(*config.grid.values()):
            overrides = dict(zip(config.grid, values, strict=True))
            yield _combination_name(config.grid, overrides, path), overrides
    elif not config.cells:
        yield BASE, {}
    yield from config.cells.items()


def _check_key(key: str, place: str, leaves_out: bool) -> None:
    """Raise `ConfigError` for a dotted key that is no setting of an experiment, or one that makes no cell.

    `leaves_out`: it is set to null, as a section may be that an experiment can do without.
    """
    if key == "name":
        raise ConfigError(f"{place}: name: a cell is named by the grid; leave it out")
    fields, parts, known = ExperimentConfig.model_fields, key.split("."), "known"
    for place_in_key, part in enumerate(parts):
        if part not in fields:
            raise ConfigError(f"{place}: {key}: unknown setting; {known}: {', '.join(fields)}")
        annotation, section = fields[part].annotation, section_of(fields[part].annotation)
        if section is None:
            inside = len(parts) - place_in_key - 1
            if inside > (get_origin(annotation) is dict):
                raise ConfigError(f"{place}: {key}: {parts[-2]} has no settings inside; leave out what follows it")
            return
        under = ".".join(parts[: place_in_key + 1])
        fields, known = section.model_fields, f"known under {under}"
    if leaves_out and NoneType in get_args(annotation):
        return
    raise ConfigError(f"{place}: {key}: a section of settings; name one in it, {key}.{next(iter(fields))} for example")


def _check_sections(keys: Mapping[str, Any], key: str, place: str) -> None:
    """Raise `ConfigError` where a section and one of its settings are both set, of which one would be lost."""
    inside = next((other for other in keys if other.startswith(f"{key}.")), None)
    if inside is not None:
        raise ConfigError(f"{place}: {key} and {inside} are both set; take one of them")


def _resolve(base: ExperimentConfig, overrides: Mapping[str, Any], place: str) -> ExperimentConfig:
    """The base with other settings; a relative `data.path` among them stays so."""
    values = base.model_dump(mode="json")
    for key, value in overrides.items():
        *sections, last = key.split(".")
        inside = values
        for section in sections:
            if inside[section] is None:
                inside[section] = {}
            inside = inside[section]
        inside[last] = value
    return parse_settings(ExperimentConfig, values, place)


def _needs_control(config: ExperimentConfig) -> bool:
    """Whether it has summaries that are to be judged, and no control."""
    return bool(config.summary_methods) and CONTROL not in config.methods


def _with_control(config: ExperimentConfig, place: str) -> ExperimentConfig:
    """The same experiment with the control method, where it needs one."""
    if not _needs_control(config):
        return config
    return parse_settings(
        ExperimentConfig, config.model_dump(mode="json") | {"methods": [*config.methods, CONTROL]}, place
    )


def _combination_name(grid: Mapping[str, Sequence[Any]], overrides: Mapping[str, Any], path: Path) -> str:
    """`recent_items-3--loss-listwise`: the last part of every key, or the whole key where two end alike.

    A key with one value is left out where another has more.
    """
    keys = [key for key, values in grid.items() if len(values) > 1] or list(grid)
    name = "--".join(f"{short_key(key, keys)}-{_shown(overrides[key])}" for key in keys)
    if len(name) > _LONGEST:
        raise ConfigError(f"{path}: grid: a combination would be called {name[:60]}…; give it a name under cells")
    return name


def _shown(value: Any) -> str:
    """A value as a part of a folder's name; of a path or a model's id the last part."""
    if isinstance(value, list):
        return "-".join(map(_shown, value)) or "empty"
    if isinstance(value, str):
        value = value.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "none" if value is None else str(value)).strip("-.") or "empty"


def _refuse_doubles(wanted: Sequence[tuple[str, Mapping[str, Any], ExperimentConfig]], path: Path) -> None:
    """Raise `ConfigError` where two cells share a folder, also where upper and lower case are one, or all settings."""
    for place, (name, _, config) in enumerate(wanted):
        if name in _TAKEN_NAMES:
            raise ConfigError(f"{path}: cells.{name}: a file of the grid has this name; give the cell another")
        for other, _, before in wanted[:place]:
            if name.casefold() == other.casefold():
                raise ConfigError(f"{path}: two cells would be called {name}; name them under cells")
            if config == before:
                raise ConfigError(f"{path}: cells {other} and {name} have the same settings; leave one of them out")
