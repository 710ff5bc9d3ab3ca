"""Which events are targets for training, validation and test, and which events a fitted model may see.

Every protocol gives each event to one split; the latest events of a user within a split are its targets, and
the events of the training split are what may be fitted. A target's history is what came before it for its
user, whatever the split of those events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import polars as pl

from trsr.config import DataConfig, SplitConfig
from trsr.data.columns import CUT, EXAMPLE, ITEM, ORDER, SPLIT, TEST, TIME, TRAIN, USER, VALID
from trsr.data.dataset import Dataset
from trsr.data.seeds import generator
from trsr.errors import ConfigError, DataError

SPLITS = (TRAIN, VALID, TEST)


@dataclass(frozen=True, eq=False)
class Examples:
    """The prediction tasks of a dataset.

    `frame`: `example_id` (`USER@CUT`), `user_id`, `split`, `cut` (number of the user's events before the target)
    and `item_id` (the target), sorted by split (train, valid, test), user and cut. `fit_events`: the rows of
    `Dataset.interactions` that a model fitted at training time may see. `by`: the protocol that was used.
    """

    frame: pl.DataFrame
    fit_events: pl.DataFrame
    by: str
    max_history: int | None

    def history(self, dataset: Dataset, row: Mapping[str, Any]) -> list[str]:
        """Items before the target of one row of `frame`, oldest first, at most the latest `max_history`."""
        start = 0 if self.max_history is None else max(0, row[CUT] - self.max_history)
        return dataset.history(row[USER])[start : row[CUT]]


def make_examples(dataset: Dataset, split: SplitConfig, data: DataConfig, seed: int) -> Examples:
    """Examples by the protocol of `split`; the same for the same data and seed.

    Raises `ConfigError` if the settings do not fit each other or the data, `DataError` if a split stays empty.
    """
    by = split.by
    if by == "auto":
        by = "time" if dataset.has_time else "last"
    if by != "last":
        refuse_all_held_out(split)
    if by == "time" and not dataset.has_time:
        raise ConfigError(f"split.by: {dataset.name} has events without a timestamp; use last or users, not time")
    protocol = {"time": _by_time, "last": _by_last, "users": _by_users}[by]
    events = protocol(dataset.interactions, split, seed)
    targets = _targets(events, split, data.min_history)
    parts = [at_most(targets.filter(pl.col(SPLIT) == name), split, seed, name) for name in SPLITS]
    for name, part in zip(SPLITS, parts, strict=True):
        if part.is_empty():
            raise DataError(_nothing_left(dataset, name, by, data.min_history))
    fit_events = events.filter(pl.col(SPLIT) == TRAIN).drop(SPLIT)
    return Examples(pl.concat(parts), fit_events, by, data.max_history)


def _by_time(events: pl.DataFrame, split: SplitConfig, seed: int) -> pl.DataFrame:
    """Two moments for everybody: the last `test` of all events is test, the `valid` before it valid."""
    times = events[TIME].sort()
    first_test = times.len() - max(1, round(split.test * times.len()))
    first_valid = max(0, first_test - max(1, round(split.valid * times.len())))
    is_test, is_valid = pl.col(TIME) >= times[first_test], pl.col(TIME) >= times[first_valid]
    return events.with_columns(choose_split(is_test, is_valid))


def _by_last(events: pl.DataFrame, split: SplitConfig, seed: int) -> pl.DataFrame:
    """The last event of every user is test, the one before it valid, the rest train."""
    left = pl.len().over(USER) - pl.col(ORDER)
    return events.with_columns(choose_split(left == 1, left == 2))


def _by_users(events: pl.DataFrame, split: SplitConfig, seed: int) -> pl.DataFrame:
    """All events of a user are in one split; users are shuffled by the seed."""
    users = events[USER].unique().sort()
    users = users.gather(generator(seed, "users").permutation(users.len()))
    tests = max(1, round(split.test * users.len()))
    valids = max(1, round(split.valid * users.len()))
    is_test = pl.col(USER).is_in(users[:tests].implode())
    return events.with_columns(choose_split(is_test, pl.col(USER).is_in(users[tests : tests + valids].implode())))


def choose_split(is_test: pl.Expr, is_valid: pl.Expr) -> pl.Expr:
    """The column `split`: test, else validation, else training."""
    return pl.when(is_test).then(pl.lit(TEST)).when(is_valid).then(pl.lit(VALID)).otherwise(pl.lit(TRAIN)).alias(SPLIT)


def _targets(events: pl.DataFrame, split: SplitConfig, min_history: int) -> pl.DataFrame:
    left = pl.len().over(USER, SPLIT) - pl.int_range(pl.len()).over(USER, SPLIT)
    wanted = pl.when(pl.col(SPLIT) == TRAIN).then(split.targets_per_user).otherwise(1)
    chosen = events.filter((left <= wanted) & (pl.col(ORDER) >= min_history)).rename({ORDER: CUT})
    return chosen.select(pl.format("{}@{}", USER, CUT).alias(EXAMPLE), USER, SPLIT, CUT, ITEM)


def refuse_all_held_out(split: SplitConfig) -> None:
    """Raise `ConfigError` where the shares of validation and test leave nothing to train on."""
    if split.valid + split.test >= 1:
        raise ConfigError(f"split: valid {split.valid} and test {split.test} leave nothing to train on; lower them")


def at_most(part: pl.DataFrame, split: SplitConfig, seed: int, name: str) -> pl.DataFrame:
    """At most as many examples of the split `name` as `split` says, drawn by the seed, in the order they have."""
    limit = {TRAIN: split.max_train, VALID: split.max_valid, TEST: split.max_test}[name]
    if limit is None or part.height <= limit:
        return part
    kept = generator(seed, f"max_{name}").permutation(part.height)[:limit]
    kept.sort()
    return part[kept]


def _nothing_left(dataset: Dataset, name: str, by: str, min_history: int) -> str:
    lengths = [len(history) for history in dataset.histories().values()]
    enough = sum(length > min_history for length in lengths)
    larger = f"raise split.{name}, " if name != TRAIN and by != "last" else ""
    return (
        f"{dataset.name}: split by {by} leaves no {name} example: {enough:,} of {len(lengths):,} users have more "
        f"than min_history {min_history} events (median {median(lengths):g}, most {max(lengths)}); "
        f"lower data.min_history, {larger}use more users or another split.by"
    )
