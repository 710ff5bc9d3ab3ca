"""MIND (small, large, demo): `behaviors.tsv` and `news.tsv`, tab-separated, without header and quoting.

Columns as in the data set's own description (msnews.github.io). A user's history is the same in all impressions of a
part, and has no times; clicks have the time of their impression. Items shown become `impressions.parquet`, one row an
impression.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import polars as pl

from trsr.config import ImportConfig
from trsr.data.columns import EXAMPLE, ITEM, POSITION, SPLIT, TIME, USER
from trsr.data.events import YEAR_9999
from trsr.data.importing.delimited import Delimited
from trsr.data.importing.reader import FAULTY, IMPRESSIONS, INTERACTIONS, ITEMS, Batches, Layout, Reader, Table
from trsr.data.importing.rows import sift
from trsr.data.importing.source import Source, SourceFile
from trsr.data.validation import blank_text
from trsr.errors import DataError

_NEWS = ("id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
_BEHAVIORS = ("impression", "user", "time", "history", "shown")
_TIME = "%m/%d/%Y %I:%M:%S %p"
_PARTS = ("train", "dev", "test")
_ENDS_IN_PART = re.compile(rf"(?:^|[^a-z]|small|large|demo)({'|'.join(_PARTS)})$")
_PART, _PLACE = "part", "place"
_KEPT = (USER, ITEM, TIME)

_ITEMS = pl.Schema(
    {ITEM: pl.String, "title": pl.String, "category": pl.String, "subcategory": pl.String, "abstract": pl.String}
)
_EVENTS = pl.Schema({USER: pl.String, ITEM: pl.String, TIME: pl.Int64, _PLACE: pl.Int32, _PART: pl.Int8})
_PLACED = pl.Schema({USER: pl.String, ITEM: pl.String, TIME: pl.Int64, POSITION: pl.Int64})
_IMPRESSIONS = pl.Schema(
    {
        EXAMPLE: pl.String(),
        USER: pl.String(),
        TIME: pl.Int64(),
        SPLIT: pl.String(),
        "shown": pl.List(pl.String),
        "clicked": pl.List(pl.String),
    }
)


def _recognise(source: Source) -> str:
    named = {file.base.lower() for file in source.files}
    return "behaviors.tsv and news.tsv" if {"behaviors.tsv", "news.tsv"} <= named else ""


def _layout(source: Source, config: ImportConfig) -> Layout:
    news, behaviors = source.matching("news.tsv"), source.matching("behaviors.tsv")
    if not news or not behaviors:
        raise DataError(f"{source.path}: MIND has behaviors.tsv and news.tsv; give the folder or archive of both")
    behaviors = sorted(behaviors, key=_part_of)
    for one, other in pairwise(behaviors):
        if _part_of(one) == _part_of(other):
            raise DataError(
                f"{source.path}: {one.name} and {other.name} are of one part, {_PARTS[_part_of(one)]}; give one"
            )
    news_rows = Delimited(_NEWS[:5], _NEWS, separator="\t", quoted=False)
    rows = Delimited(_BEHAVIORS, _BEHAVIORS, separator="\t", quoted=False)
    items = [Table(file, news_rows, _news, apart=True) for file in news]
    if len(behaviors) == 1:
        only = _OnlyPart(behaviors[0])
        return Layout([*items, Table(behaviors[0], rows, only)], _ITEMS, _PLACED, _IMPRESSIONS, rest=only.rest)
    parts = [Table(file, rows, _Part(file)) for file in behaviors]
    return Layout([*items, *parts], _ITEMS, _EVENTS, _IMPRESSIONS, _arrange)


def _part_of(file: SourceFile) -> int:
    """0 for training, 1 for dev, 2 for test, by the name of the innermost folder that tells; alone it is training."""
    for folder in reversed(file.folder.lower().split("/")):
        told = _ENDS_IN_PART.search(folder)
        if told:
            return _PARTS.index(told[1])
    return 0


def _news(frame: pl.DataFrame) -> Batches:
    good, faults = sift(
        frame, {"no id of a news article": blank_text(pl.col("id")), "no title": pl.col("title").is_null()}
    )
    return {ITEMS: good.rename({"id": ITEM}), FAULTY: faults}


class _Part:
    """Turns impressions of one part into impressions, clicks, and each user's history once."""

    def __init__(self, file: SourceFile) -> None:
        self.part = _part_of(file)
        self._known: set[str] = set()

    def __call__(self, frame: pl.DataFrame) -> Batches:
        frame = frame.with_columns(
            pl.col("time").str.to_datetime(_TIME, strict=False).dt.epoch("s").alias(TIME),
            pl.col("shown").str.split(" "),
        )
        reasons = {
            "no id of the impression": blank_text(pl.col("impression")),
            "no user": blank_text(pl.col("user")),
            "a time that is not like 11/12/2019 2:14:46 PM": pl.col(TIME).is_null() | (pl.col(TIME).abs() > YEAR_9999),
            "no items shown": pl.col("shown").is_null(),
        }
        if self.part < 2 and not _all_marked(frame["shown"]):
            marked = pl.element().str.slice(-2).is_in(["-0", "-1"])
            reasons["an item shown that ends neither in -0 nor in -1"] = ~pl.col("shown").list.eval(marked).list.all()
        good, faults = sift(frame, reasons)
        good = good.rename({"user": USER})
        impressions = self._impressions(good)
        clicks = impressions.select(USER, pl.col("clicked").alias(ITEM), TIME, pl.lit(None, pl.Int32).alias(_PLACE))
        clicks = clicks.explode(ITEM, empty_as_null=False, keep_nulls=False)
        return {IMPRESSIONS: impressions, INTERACTIONS: self._events(self._history(good), clicks), FAULTY: faults}

    def _events(self, histories: pl.DataFrame, clicks: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([histories, clicks]).with_columns(pl.lit(self.part, pl.Int8).alias(_PART))

    def _impressions(self, frame: pl.DataFrame) -> pl.DataFrame:
        name = _PARTS[self.part]
        is_click = pl.element().str.ends_with("-1")
        shown = pl.col("shown").list.eval(pl.element().str.head(-2)) if self.part < 2 else pl.col("shown")
        clicked = pl.col("shown").list.eval(pl.element().filter(is_click).str.head(-2))
        return frame.select(
            pl.format("{}-{}", pl.lit(name), pl.col("impression")).alias(EXAMPLE),
            USER,
            TIME,
            pl.lit(name).alias(SPLIT),
            shown,
            (clicked if self.part < 2 else pl.lit(None, pl.List(pl.String))).alias("clicked"),
        )

    def _history(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The histories of users who had none so far, with places from 0."""
        some = frame.select(USER, "history").filter(pl.col("history") != "")
        first = some.unique(USER, keep="first", maintain_order=True)
        users = first[USER].to_list()
        is_new = pl.Series([user not in self._known for user in users], dtype=pl.Boolean)
        self._known.update(users)
        histories = first.filter(is_new).select(USER, pl.col("history").str.split(" ").alias(ITEM))
        return histories.select(
            USER,
            ITEM,
            pl.lit(None, pl.Int64).alias(TIME),
            pl.int_ranges(pl.col(ITEM).list.len(), dtype=pl.Int32).alias(_PLACE),
        ).explode(ITEM, _PLACE, empty_as_null=False)


def _all_marked(shown: pl.Series) -> bool:
    """Whether all items of all lists have a mark, which is quicker to tell than which lists have one without."""
    marks = shown.explode(keep_nulls=False, empty_as_null=False).str.slice(-2)
    return bool(((marks == "-0") | (marks == "-1")).all())


class _OnlyPart(_Part):
    """The one part of a source: places in histories are final at once, and clicks are put behind them at the end."""

    def __init__(self, file: SourceFile) -> None:
        super().__init__(file)
        self._clicks: list[pl.DataFrame] = []
        self._used: list[pl.DataFrame] = []

    def _events(self, histories: pl.DataFrame, clicks: pl.DataFrame) -> pl.DataFrame:
        placed = _as_positions(histories.lazy()).collect()
        self._clicks.append(clicks)
        self._used.append(_ends(placed.lazy()).collect())
        return placed

    def rest(self) -> Iterator[pl.DataFrame]:
        """The clicks."""
        if self._clicks:
            yield _placed(_ranked(pl.concat(self._clicks)).lazy(), pl.concat(self._used)).collect()


def _arrange(events: pl.LazyFrame) -> pl.LazyFrame:
    """Part by part: the history, of a later part what it adds, then the clicks; one moment is one position.

    The history of the first part, which is most of the events, stays in the file.
    """
    is_click = pl.col(TIME).is_not_null()
    parts = events.select(pl.col(_PART).unique().sort()).collect(engine="streaming").to_series().to_list()
    done: list[pl.LazyFrame] = []
    used = pl.DataFrame(schema={USER: pl.String, "used": pl.Int64})
    for part in parts:
        of_part = events.filter(pl.col(_PART) == part)
        history = of_part.filter(~is_click)
        if done:
            history = _added(history, pl.concat(done))
        clicks = _ranked(of_part.filter(is_click).collect(engine="streaming"))
        for of_kind in (history, clicks.lazy()):
            placed = _placed(of_kind, used) if len(used) else _as_positions(of_kind)
            ends = _ends(placed).collect(engine="streaming")
            used = pl.concat([ends, used.join(ends, on=USER, how="anti")])
            done.append(placed)
    return pl.concat(done)


def _added(history: pl.LazyFrame, known: pl.LazyFrame) -> pl.LazyFrame:
    """What is in a history of a later part and not among the events before it."""
    new = history.join(known, on=[USER, ITEM], how="anti", maintain_order="left").collect(engine="streaming")
    return new.with_columns(pl.int_range(pl.len(), dtype=pl.Int32).over(USER).alias(_PLACE)).lazy()


def _ranked(clicks: pl.DataFrame) -> pl.DataFrame:
    """Clicks with a user's moments as places from 0."""
    return clicks.with_columns((pl.col(TIME).rank("dense").over(USER) - 1).cast(pl.Int32).alias(_PLACE))


def _as_positions(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.select(*_KEPT, pl.col(_PLACE).cast(pl.Int64).alias(POSITION))


def _ends(placed: pl.LazyFrame) -> pl.LazyFrame:
    """How many positions each user has used."""
    return placed.group_by(USER).agg((pl.col(POSITION).max() + 1).alias("used"))


def _placed(events: pl.LazyFrame, used: pl.DataFrame) -> pl.LazyFrame:
    """Events with positions behind those that their users used so far."""
    joined = events.join(used.lazy(), on=USER, how="left", maintain_order="left")
    return joined.select(*_KEPT, (pl.col("used").fill_null(0) + pl.col(_PLACE)).alias(POSITION))


READER = Reader("mind", "MIND news: behaviors.tsv and news.tsv", _recognise, _layout)
