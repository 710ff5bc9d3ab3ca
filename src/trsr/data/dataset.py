"""`Dataset`: items that say something and the ordered events of users, checked and cleaned."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from trsr.config import DataConfig
from trsr.data.columns import ITEM, ORDER, RATING, TIME, USER, WEIGHT
from trsr.data.events import MOMENT, clean_events, nothing_rated, survey_events
from trsr.data.ordering import order_events
from trsr.data.reading import dataset_files, read_table
from trsr.data.report import CleaningReport
from trsr.data.validation import clean_items
from trsr.errors import DataError

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_HASHED_ROWS = 100_000


@dataclass(frozen=True, eq=False)
class Dataset:
    """Items and interactions of one source.

    `items`: `item_id` and the `attributes`, sorted by id. `interactions`: `user_id, item_id, order, timestamp`
    (seconds, may be null) and `rating`, `weight` where given, sorted by user and `order` (0..n-1 within a user).
    """

    items: pl.DataFrame
    interactions: pl.DataFrame
    attributes: tuple[str, ...]
    report: CleaningReport
    name: str

    @classmethod
    def from_folder(cls, path: Path, config: DataConfig, seed: int) -> "Dataset":
        """Read `items.parquet` and `interactions.parquet`; `DataError` in one sentence if that fails."""
        files = dataset_files(path)
        frames = read_table(files[0]), read_table(files[1])
        return cls._build(frames, config, seed, path.resolve().name, (str(files[0]), str(files[1])))

    @classmethod
    def from_frames(
        cls,
        items: pl.DataFrame,
        interactions: pl.DataFrame,
        *,
        config: DataConfig | None = None,
        seed: int = 7,
        name: str = "frames",
    ) -> "Dataset":
        """Take frames that follow the contract of the two files; messages name them `NAME items` and so on."""
        return cls._build(
            (items, interactions), config or DataConfig(), seed, name, (f"{name} items", f"{name} interactions")
        )

    @classmethod
    def _build(
        cls,
        frames: tuple[pl.DataFrame, pl.DataFrame],
        config: DataConfig,
        seed: int,
        name: str,
        places: tuple[str, str],
    ) -> "Dataset":
        items, attributes, report = clean_items(frames[0], config.attributes, CleaningReport(), places[0])
        survey = survey_events(frames[1].lazy(), items[ITEM], config.min_rating, report, places[1])
        cleaned = clean_events(frames[1], survey)
        if cleaned.frame.is_empty():
            raise nothing_rated(survey)
        events, tied = order_events(cleaned.frame, seed, timed=cleaned.frame[MOMENT].null_count() == 0)
        report = survey.report.with_part(
            events, exact_repeats=cleaned.exact_repeats, low_ratings=cleaned.low_ratings, tied_events=tied
        )
        optional = [column for column in (RATING, WEIGHT) if column in events.columns]
        return cls(items, events.select(USER, ITEM, ORDER, TIME, *optional), attributes, report, name)

    def history(self, user_id: str) -> list[str]:
        """Ids of all items of the user's events, oldest first; `DataError` if nobody has this id."""
        try:
            return self.histories()[user_id]
        except KeyError:
            raise DataError(f"{self.name}: user {user_id!r} has no events; check the id") from None

    def histories(self) -> dict[str, list[str]]:
        """`history` of every user, sorted by user id. Made once and shared: do not change it."""
        return self._histories

    @cached_property
    def _histories(self) -> dict[str, list[str]]:
        grouped = self.interactions.group_by(USER, maintain_order=True).agg(ITEM)
        return dict(zip(grouped[USER].to_list(), grouped[ITEM].to_list(), strict=True))

    @property
    def has_time(self) -> bool:
        """Whether every event has a real timestamp."""
        return self.interactions[TIME].null_count() == 0

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the cleaned, ordered content: the same for any order of the input's rows.

        The order of tied events is part of the content, so another seed may give another fingerprint.
        """
        digest = sha256()
        for frame in (self.items, self.interactions):
            add_table(digest, frame)
        return digest.hexdigest()


def add_table(digest: "Hash", frame: pl.DataFrame) -> None:
    """Hash the columns of a table, their types and all rows in their order, some rows at a time."""
    digest.update(repr(list(frame.schema.items())).encode())
    for part in frame.iter_slices(_HASHED_ROWS):
        digest.update(part.write_ndjson().encode())
