"""The readers of the synthetic bookshop: a hidden taste that lasts, one that passes, and the books it picks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trsr.config import BookshopConfig
from trsr.data.bookshop.catalogue import pick, read_lexicon, two_of

FIRST_LASTING = 5.4
SECOND_LASTING = 5.2
PASSING = 3.6
SECONDARY_SHARE = 0.4  # of a theme's weight, where it is only the secondary theme of a book
MOOD = 1.6
POPULARITY = 1.0

TIE_SHARE = 0.03
DRIFT_EVENTS = (3, 6)  # a passing taste lasts 3 to 5 events
OPENING_DAY = 1_672_531_200  # 2023-01-01 UTC
START_DAYS = 730
MEAN_GAP_DAYS = 12
OPENING_HOURS = (9, 20)
_DAY, _HOUR = 86_400, 3_600


@dataclass(frozen=True)
class Traits:
    """Hidden traits of books, one entry a book."""

    main: NDArray[Any]
    secondary: NDArray[Any]
    mood: NDArray[Any]
    popularity: NDArray[np.float64]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "Traits":
        """Read from the columns main, secondary, mood and popularity."""
        text = {name: frame[name].to_numpy().astype(np.str_) for name in ("main", "secondary", "mood")}
        return cls(**text, popularity=frame["popularity"].to_numpy())


@dataclass(frozen=True)
class Taste:
    """What a reader likes at one moment: single values, or arrays with one entry a book."""

    first: Any
    second: Any
    passing: Any
    mood: Any


def utility(books: Traits, taste: Taste) -> NDArray[np.float64]:
    """How much each book appeals; the log of its odds of being picked next, up to a constant."""

    def appeal(theme: Any) -> NDArray[np.float64]:
        share = (books.main == theme) + SECONDARY_SHARE * (books.secondary == theme)
        return np.asarray(share, dtype=np.float64)

    lasting = FIRST_LASTING * appeal(taste.first) + SECOND_LASTING * appeal(taste.second)
    liked_mood = np.asarray(books.mood == taste.mood, dtype=np.float64)
    return lasting + PASSING * appeal(taste.passing) + MOOD * liked_mood + POPULARITY * books.popularity


def make_readers(
    books: pl.DataFrame, config: BookshopConfig, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events and the truth behind them, both by reader and then in true order.

    Events have user_id, item_id, timestamp (seconds); the truth has user_id, order (from 0 for each reader),
    lasting (two themes, the stronger first), passing and mood.
    """
    traits = Traits.of(books)
    item_ids = books["item_id"].to_list()
    width = max(4, len(str(config.readers - 1)))
    events: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    for number in range(config.readers):
        user = {"user_id": f"r{number:0{width}d}"}
        times = _timestamps(int(rng.integers(config.min_events, config.max_events + 1)), rng)
        read = np.zeros(len(item_ids), dtype=np.bool_)
        for order, (time, taste) in enumerate(zip(times, _tastes(times, rng), strict=True)):
            book = _choose(utility(traits, taste), read, rng)
            read[book] = True
            events.append(user | {"item_id": item_ids[book], "timestamp": time})
            state = {"lasting": [taste.first, taste.second], "passing": taste.passing, "mood": taste.mood}
            truth.append(user | {"order": order} | state)
    return pl.DataFrame(events), pl.DataFrame(truth)


def _timestamps(count: int, rng: np.random.Generator) -> list[int]:
    """Non-decreasing seconds: days apart, within opening hours, a few shared by one purchase."""
    day = int(rng.integers(START_DAYS))
    times: list[int] = []
    for _ in range(count):
        if times and rng.random() < TIE_SHARE:
            times.append(times[-1])
            continue
        second = int(rng.integers(OPENING_HOURS[0] * _HOUR, OPENING_HOURS[1] * _HOUR))
        times.append(OPENING_DAY + day * _DAY + second)
        day += int(rng.geometric(1 / MEAN_GAP_DAYS))
    return times


def _tastes(times: list[int], rng: np.random.Generator) -> Iterator[Taste]:
    """The reader's taste at each event; the passing theme never changes between events of one moment."""
    lexicon = read_lexicon()
    first, second = two_of(list(lexicon.themes), rng)
    mood = pick(list(lexicon.moods), rng)
    passing, left = "", 0
    for index, time in enumerate(times):
        if left <= 0 and (index == 0 or time != times[index - 1]):
            passing = pick([theme for theme in lexicon.themes if theme not in (first, second, passing)], rng)
            left = int(rng.integers(*DRIFT_EVENTS))
        left -= 1
        yield Taste(first, second, passing, mood)


def _choose(utilities: NDArray[np.float64], read: NDArray[np.bool_], rng: np.random.Generator) -> int:
    """An unread book, with softmax probability."""
    weights = np.where(read, 0.0, np.exp(utilities - utilities.max()))
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
