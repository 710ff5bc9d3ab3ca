"""Plots from a table beside a MovieLens release: `plots.csv` or `plots.parquet`, with `overview` and an id."""

import csv

import polars as pl

from trsr.data.columns import ITEM
from trsr.data.importing.delimited import Delimited
from trsr.data.importing.parquet import ParquetRows, parquet_kinds
from trsr.data.importing.reader import FAULTY, Batches, Table
from trsr.data.importing.rows import LINE, RowFormat, sift
from trsr.data.importing.source import Source, SourceFile
from trsr.errors import DataError

OVERVIEW = "overview"
_MOVIE = "movieId"
_KEYS = (_MOVIE, "tmdbId", "imdbId")
_KEY, _FIRST = "key", "first"
_NUMBER = r"^(?:tt)?0*(\d+)(?:\.0)?$"
"""An id as links have it, `0114709`, as the film site does, `tt0114709`, and as pandas makes it, `114709.0`."""


def find_plots(source: Source) -> "Plots | None":
    """The table of plots at `source`, None if there is none; `DataError` for one that cannot be joined."""
    found = source.matching("*plots.csv", "*plots.parquet")
    if not found:
        return None
    if len(found) > 1:
        raise DataError(f"{source.path}: {', '.join(file.name for file in found)} are tables of plots; leave one")
    [file] = found
    names = _names(file)
    key = next((name for name in _KEYS if name in names), "")
    if not key or OVERVIEW not in names:
        raise DataError(
            f"{file.place}: plots need a column {OVERVIEW} and one of {', '.join(_KEYS)} "
            f"(columns: {', '.join(names)}); rename them"
        )
    if key == _MOVIE:
        return Plots(file, key, None)
    links = source.matching("*links.csv")
    if len(links) != 1:
        raise DataError(f"{file.place}: plots by {key} are joined through links.csv; put one beside them")
    return Plots(file, key, links[0])


class Plots:
    """Plots by `key`; `tables` are read before the movies, to which `joined` adds what they said."""

    def __init__(self, file: SourceFile, key: str, links: SourceFile | None) -> None:
        self.key, self._linked = key, links is not None
        self._plots = pl.DataFrame(schema={_KEY: pl.String, OVERVIEW: pl.String})
        self._links = pl.DataFrame(schema={ITEM: pl.String, _KEY: pl.String})
        wanted = (key, OVERVIEW)
        rows: RowFormat = ParquetRows(wanted) if _is_parquet(file) else Delimited(wanted)
        self.tables = [Table(file, rows, self._add_plots)]
        if links is not None:
            self.tables.append(Table(links, Delimited((_MOVIE, key)), self._add_links))

    def joined(self, items: pl.DataFrame) -> pl.DataFrame:
        """The items with their plots, null where there is none."""
        links = self._links if self._linked else items.select(ITEM, _number(ITEM).alias(_KEY))
        plots = links.unique(ITEM, keep="first", maintain_order=True).join(self._plots, on=_KEY)
        return items.join(plots.select(ITEM, OVERVIEW), on=ITEM, how="left", maintain_order="left")

    def _add_plots(self, frame: pl.DataFrame) -> Batches:
        named, faults = sift(frame, {f"no {self.key}": pl.col(self.key).is_null()})
        read = named.select(LINE, _number(self.key).alias(_KEY), OVERVIEW).drop_nulls(OVERVIEW)
        both = pl.concat([self._plots.with_columns(pl.lit(0, pl.Int64).alias(LINE)).select(read.columns), read])
        both = both.with_columns(pl.col(OVERVIEW).first().over(_KEY).alias(_FIRST))
        self._plots = both.unique(_KEY, keep="first", maintain_order=True).select(_KEY, OVERVIEW)
        differs = {f"another plot for a {self.key} that is further up": pl.col(OVERVIEW) != pl.col(_FIRST)}
        _, others = sift(both, differs)
        return {FAULTY: pl.concat([faults, others]).sort(LINE)}

    def _add_links(self, frame: pl.DataFrame) -> Batches:
        named, faults = sift(frame, {f"no {_MOVIE}": pl.col(_MOVIE).is_null()})
        links = named.select(pl.col(_MOVIE).alias(ITEM), _number(self.key).alias(_KEY)).drop_nulls()
        self._links = pl.concat([self._links, links])
        return {FAULTY: faults}


def _number(name: str) -> pl.Expr:
    return pl.col(name).str.strip_chars().str.replace(_NUMBER, "$1")


def _names(file: SourceFile) -> list[str]:
    if _is_parquet(file):
        return list(parquet_kinds(file))
    line = file.head(4096).decode(errors="replace").removeprefix("\ufeff").partition("\n")[0]
    return [name.strip() for name in next(csv.reader([line]), [])]


def _is_parquet(file: SourceFile) -> bool:
    return file.name.lower().endswith(".parquet")
