"""Impressions as the prediction tasks of an experiment: what people were shown, and what they had before it.

An impression's history is what its user had before its moment. An event without a time counts as earlier than the
user's next event that has one, which is how `trsr data import mind` orders a user's known history and clicks.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trsr.config import CandidateConfig, DataConfig, SplitConfig
from trsr.data.columns import CUT, EXAMPLE, ITEM, LABEL, ORDER, SPLIT, TEST, TIME, TRAIN, USER, VALID
from trsr.data.dataset import Dataset
from trsr.data.impressions import CLICKED, as_shown, list_impressions, open_impressions, read_impressions
from trsr.data.seeds import generator
from trsr.data.splits import SPLITS, Examples, at_most, choose_split, refuse_all_held_out
from trsr.errors import DataError

_UNTIL = "until"


@dataclass(frozen=True, eq=False)
class ImpressionTasks:
    """Examples that are impressions, and the candidates of those that are ranked as they were shown.

    `drawn` are training examples whose negatives are to be drawn instead, one for each click: `example_id, user_id,
    cut, item_id`, where `cut` counts all events up to the impression's moment, so that no click of it becomes a
    negative. They are none where training takes impressions too.
    """

    examples: Examples
    shown: dict[str, pl.DataFrame]
    drawn: pl.DataFrame


def impression_tasks(
    folder: Path, dataset: Dataset, split: SplitConfig, data: DataConfig, candidates: CandidateConfig, seed: int
) -> ImpressionTasks:
    """The impressions of a dataset folder as examples; the same for the same content and seed.

    Used are impressions with a click and something not clicked among the items that the dataset has, before which
    their user had `data.min_history` events. The parts that the source has (train, dev, test) are the splits where
    two or three of them have clicks, unless `split.by` is "time"; validation is then the latest `split.valid` of the
    first part if there are two. One part, and "time", is cut at two moments. Raises `DataError` if a split stays
    empty, `ConfigError` if the settings leave nothing to train on.
    """
    table, items = open_impressions(folder), dataset.items[ITEM]
    rows = _placed(list_impressions(table, items), dataset)
    rows, moment = _split(rows.filter(pl.col(CUT) >= data.min_history), split)
    rows = _latest_of_users(rows, split.targets_per_user)
    parts = {name: at_most(rows.filter(pl.col(SPLIT) == name), split, seed, name) for name in SPLITS}
    for name, part in parts.items():
        if part.is_empty():
            raise DataError(
                f"{folder}: no impression is left for {name}; it needs one with a click on a known item, and "
                f"{data.min_history} events before it: lower data.min_history, or import more impressions"
            )
    lists = read_impressions(table, items, pl.concat([part[EXAMPLE] for part in parts.values()]))
    parts = {name: part.join(lists, on=EXAMPLE, how="left", maintain_order="left") for name, part in parts.items()}
    shown = {name: as_shown(part) for name, part in parts.items()}
    drawn = pl.DataFrame(schema={EXAMPLE: pl.String, USER: pl.String, CUT: pl.Int64, ITEM: pl.String})
    first = pl.col(CLICKED).list.first().alias(ITEM)
    if candidates.source_in_training == "impressions":
        shown[TRAIN] = _fewer(shown[TRAIN], candidates.train_negatives, seed)
    else:
        del shown[TRAIN]
        parts[TRAIN] = _one_a_click(parts[TRAIN])
        drawn = parts[TRAIN].select(EXAMPLE, USER, pl.col(_UNTIL).alias(CUT), first)
    frame = pl.concat(parts[name] for name in SPLITS).select(EXAMPLE, USER, SPLIT, CUT, first)
    return ImpressionTasks(Examples(frame, _before(dataset, moment), "impressions", data.max_history), shown, drawn)


def _latest_of_users(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """All impressions of validation and test, and at most so many of each user in training; sorted by user and time."""
    rows = rows.sort(USER, TIME, EXAMPLE)
    place = pl.int_range(pl.len()).reverse().over(USER, SPLIT)
    return rows.filter((place < most) | (pl.col(SPLIT) != TRAIN))


def _placed(rows: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """`cut`: how many events of the user come before the impression; `until`: those of its own moment as well."""
    events = dataset.interactions.select(USER, ORDER, TIME)
    timed = events.filter(pl.col(TIME).is_not_null()).sort(USER, TIME)
    if timed.is_empty():
        raise DataError(f"{dataset.name}: no event has a timestamp, so nothing tells what came before an impression")
    first = timed.select(USER, TIME, pl.col(ORDER).cum_min(reverse=True).over(USER)).sort(TIME)
    ends = events.group_by(USER).agg(pl.len().alias("events"))
    rows = rows.sort(TIME, EXAMPLE)
    for name, with_moment in ((CUT, True), (_UNTIL, False)):
        rows = rows.join_asof(
            first.rename({ORDER: name}),
            on=TIME,
            by=USER,
            strategy="forward",
            allow_exact_matches=with_moment,
            check_sortedness=False,
        )
    rows = rows.join(ends, on=USER, how="left", maintain_order="left")
    return rows.with_columns(
        pl.coalesce(name, "events", pl.lit(0)).cast(pl.Int64).alias(name) for name in (CUT, _UNTIL)
    ).drop("events")


def _split(rows: pl.DataFrame, split: SplitConfig) -> tuple[pl.DataFrame, int]:
    """The impressions with their split, and the moment from which on nothing may be fitted."""
    there = [part for part in ("train", "dev", "test") if (rows[SPLIT] == part).any()]
    if split.by != "time" and len(there) == 3:
        named = rows.with_columns(pl.col(SPLIT).replace({"train": TRAIN, "dev": VALID, "test": TEST}))
        return named, int(named.filter(pl.col(SPLIT) != TRAIN)[TIME].sort()[0])
    if split.by != "time" and len(there) == 2:
        first = rows.filter(pl.col(SPLIT) == there[0])
        first_valid = _latest(first, split.valid, first.height)
        is_test = pl.col(SPLIT) == there[1]
    else:
        refuse_all_held_out(split)
        first_test = _latest(rows, split.test, rows.height)
        first_valid = _latest(rows, split.valid, rows.filter(pl.col(TIME) < first_test).height)
        is_test = pl.col(TIME) >= first_test
    is_valid = pl.col(TIME) >= first_valid
    return rows.with_columns(choose_split(is_test, is_valid)), first_valid


def _latest(rows: pl.DataFrame, share: float, below: int) -> int:
    """The moment at which the latest `share` of all rows begins, counted back from the first `below` in time."""
    times = rows[TIME].sort()
    return int(times[max(0, below - max(1, round(share * times.len())))]) if times.len() else 0


def _before(dataset: Dataset, moment: int) -> pl.DataFrame:
    """The events before the moment: one without a time only where a later one of its user is before it too."""
    latest = pl.col(TIME).cum_max().forward_fill().over(USER)
    following = pl.col(TIME).backward_fill().over(USER)
    return dataset.interactions.filter((following < moment) & ((latest < moment) | latest.is_null()))


def _fewer(candidates: pl.DataFrame, negatives: int, seed: int) -> pl.DataFrame:
    """At most so many negatives of each example, drawn by the seed whatever the order of rows."""
    drawn = candidates.filter(pl.col(LABEL) == 0).sort(EXAMPLE, ITEM)
    lot = pl.Series("lot", generator(seed, "shown").random(drawn.height))
    kept = drawn.with_columns(lot).filter(pl.col("lot").rank("ordinal").over(EXAMPLE) <= negatives)
    left_out = drawn.join(kept, on=[EXAMPLE, ITEM], how="anti")
    return candidates.join(left_out, on=[EXAMPLE, ITEM], how="anti", maintain_order="left")


def _one_a_click(rows: pl.DataFrame) -> pl.DataFrame:
    """An example for each click; the second and later ones of an impression have a number behind its id."""
    each = rows.explode(CLICKED, empty_as_null=False).with_columns(
        pl.int_range(1, pl.len() + 1).over(EXAMPLE).alias("click")
    )
    name = pl.when(pl.col("click") == 1).then(EXAMPLE).otherwise(pl.format("{}/{}", EXAMPLE, "click"))
    return each.with_columns(name.alias(EXAMPLE), pl.concat_list(CLICKED).alias(CLICKED)).drop("click")
