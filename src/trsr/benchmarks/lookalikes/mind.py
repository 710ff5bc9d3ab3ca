"""A look-alike of MIND-large: `behaviors.tsv` and `news.tsv` with its columns, its sizes and its traps.

What is like it: rows, users and news; how long histories and impressions are; histories that are missing, that hold an
item twice, that are the same in all impressions of a user; times as text; quotes in abstracts, which nothing escapes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from trsr.benchmarks.lookalikes.phrases import Ints, Phrases, around
from trsr.data.seeds import generator

IMPRESSIONS, USERS, NEWS = 2_232_748, 711_222, 161_013
CHUNK = 50_000
_FIRST_SECOND, _SECONDS = 1_573_257_600, 6 * 86_400  # from 9 November 2019
_CLICKS = (0.74, 0.18, 0.05, 0.03)
_NO_HISTORY, _NO_ABSTRACT, _QUOTED = 0.02, 0.05, 0.03
_CATEGORIES = ("news", "sports", "finance", "lifestyle", "foodanddrink", "travel", "health", "autos", "weather", "tv")
_KINDS = ("us", "politics", "crime", "world", "local", "tips", "video", "people", "history", "guides")


def write_mind(folder: Path, scale: float, seed: int) -> int:
    """Write the two files and tell how many rows they have; a `scale` of 1 is the size of MIND-large."""
    users, news = max(round(USERS * scale), 2), max(round(NEWS * scale), 600)
    rng = generator(seed, "look-alike of MIND")
    numbers = rng.permutation(news)
    ids = "N" + pl.Series("news", numbers + 1).cast(pl.String)
    with (folder / "news.tsv").open("wb") as file:
        for chunk in _news(ids, rng):
            _write(chunk, file)
    impressions = max(round(IMPRESSIONS * scale), users)
    with (folder / "behaviors.tsv").open("wb") as file:
        for chunk in _behaviors(ids, users, impressions, rng):
            _write(chunk, file)
    return news + impressions


def _write(frame: pl.DataFrame, file: BinaryIO) -> None:
    frame.write_csv(file, separator="\t", include_header=False, quote_style="never")


def _news(ids: pl.Series, rng: np.random.Generator) -> Iterator[pl.DataFrame]:
    phrases = Phrases("en", 5, rng)
    entities = pl.Series(
        [
            f'{{"Label": "{label}", "Type": "{kind}", "WikidataId": "Q{number}", "Confidence": 1.0, '
            f'"OccurrenceOffsets": [{number % 90}], "SurfaceForms": ["{label}"]}}'
            for label, kind, number in zip(
                phrases.texts(np.ones(3000, dtype=np.int64), rng).str.replace_all('"', "").str.slice(0, 22),
                rng.choice(list("PGOUL"), size=3000).tolist(),
                rng.integers(10_000_000, size=3000).tolist(),
                strict=True,
            )
        ]
    )
    for begin in range(0, len(ids), CHUNK):
        some = ids[begin : begin + CHUNK]
        size = len(some)
        category = pl.Series(_CATEGORIES).gather(rng.integers(len(_CATEGORIES), size=size))
        kind = pl.Series(_KINDS).gather(rng.integers(len(_KINDS), size=size))
        abstract = phrases.texts(around(7.1, size, rng), rng)
        abstract = pl.Series(np.where(rng.random(size) < _QUOTED, '"', "")) + abstract  # and never ended
        number = pl.Series(np.arange(begin, begin + size)).cast(pl.String).str.zfill(6)
        yield pl.DataFrame(
            {
                "news": some,
                "category": category,
                "subcategory": category + kind,
                "title": phrases.texts(around(2.2, size, rng), rng),
                "abstract": abstract.set(pl.Series(rng.random(size) < _NO_ABSTRACT), None),
                "url": "https://assets.invalid/labs/mind/AA" + number + ".html",
                "title_entities": _listed(entities, rng.poisson(1.1, size=size), rng),
                "abstract_entities": _listed(entities, rng.poisson(1.8, size=size), rng),
            }
        )


def _listed(entities: pl.Series, lengths: Ints, rng: np.random.Generator) -> pl.Series:
    codes = rng.integers(len(entities), size=int(lengths.sum()))
    return "[" + _joined(entities.gather(codes), lengths, ", ").fill_null("") + "]"


def _joined(words: pl.Series, lengths: Ints, separator: str) -> pl.Series:
    """Words one after another in texts of so many words each; null where a text has none."""
    frame = pl.DataFrame({"row": np.repeat(np.arange(lengths.size), lengths), "word": words})
    texts = frame.group_by("row", maintain_order=True).agg(pl.col("word").str.join(separator))
    rows = pl.DataFrame({"row": np.arange(lengths.size)})
    return rows.join(texts, on="row", how="left", maintain_order="left")["word"]


def _behaviors(ids: pl.Series, users: int, rows: int, rng: np.random.Generator) -> Iterator[pl.DataFrame]:
    names = "U" + pl.Series(rng.permutation(users) + 1).cast(pl.String)
    histories = pl.concat([_histories(ids, min(CHUNK, users - begin), rng) for begin in range(0, users, CHUNK)])
    more = (users * rng.random(rows - users) ** 1.5).astype(np.int64)
    readers = rng.permutation(np.concatenate([np.arange(users), more]))
    shown, clicked, plain = ids.rename("shown"), ids + "-1", ids + "-0"
    for begin in range(0, rows, CHUNK):
        some = readers[begin : begin + CHUNK]
        time = pl.Series(_FIRST_SECOND + rng.integers(_SECONDS, size=some.size)) * 1000
        yield pl.DataFrame(
            {
                "impression": np.arange(begin, begin + some.size) + 1,
                "user": names.gather(some),
                "time": time.cast(pl.Datetime("ms")).dt.strftime("%-m/%-d/%Y %-I:%M:%S %p"),
                "history": histories.gather(some),
                "shown": _impressions(len(shown), some.size, clicked, plain, rng),
            }
        )


def _histories(ids: pl.Series, size: int, rng: np.random.Generator) -> pl.Series:
    lengths = np.clip(rng.lognormal(3.0, 0.98, size=size).astype(np.int64), 1, 800)
    lengths[rng.random(size) < _NO_HISTORY] = 0
    codes = (len(ids) * rng.random(int(lengths.sum())) ** 3.3).astype(np.int64)
    return _joined(ids.gather(codes), lengths, " ")


def _impressions(news: int, size: int, clicked: pl.Series, plain: pl.Series, rng: np.random.Generator) -> pl.Series:
    """Distinct news of each impression, evenly apart in the catalogue, with their labels."""
    lengths = np.clip(rng.lognormal(3.14, 0.98, size=size).astype(np.int64), 2, 299)
    starts = np.cumsum(lengths) - lengths
    place = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    first = (news * rng.random(size) ** 2).astype(np.int64)
    step = rng.integers(1, news // 300 + 1, size=size)
    codes = (np.repeat(first, lengths) + place * np.repeat(step, lengths)) % news
    clicks = np.minimum(rng.choice(len(_CLICKS), p=_CLICKS, size=size) + 1, lengths)
    lowest = np.repeat((rng.random(size) * (lengths - clicks + 1)).astype(np.int64), lengths)
    is_clicked = (place >= lowest) & (place < lowest + np.repeat(clicks, lengths))
    words = plain.gather(codes).zip_with(pl.Series(~is_clicked), clicked.gather(codes))
    return _joined(words, lengths, " ")
