"""A look-alike of Amazon-M2: `sessions_train.csv` and `products_train.csv` with its columns, its sizes and its traps.

What is like it: rows of each locale; lists of ids as numpy prints them, over more than one line where they are long;
products that several locales sell; text with commas, quotes, tags and entities of HTML, and of six languages.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from trsr.benchmarks.lookalikes.phrases import Ints, Phrases, around
from trsr.data.seeds import generator

SESSIONS = {"DE": 1_111_416, "JP": 979_119, "UK": 1_182_181, "ES": 89_047, "FR": 117_561, "IT": 126_925}
PRODUCTS = {"DE": 471_000, "JP": 359_000, "UK": 455_000, "ES": 38_700, "FR": 40_600, "IT": 45_900}
LANGUAGES = {"DE": "de", "JP": "jp", "UK": "en", "ES": "es", "FR": "fr", "IT": "it"}
CHUNK = 50_000
_SOLD_ELSEWHERE = 0.1
_AGAIN = 0.08  # of a session's items are the one before
_IDS_A_LINE = 5  # of ten characters, in the 75 that numpy gives a line
_NO_PRICE = 40_000_000.07  # what the publishers wrote where there is none
_MIXER = 1_900_000_000_007
_DIGITS = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8)
_MISSING = {"brand": 0.04, "color": 0.3, "size": 0.4, "model": 0.45, "material": 0.45, "author": 0.96, "desc": 0.1}


def write_amazon_m2(folder: Path, scale: float, seed: int) -> int:
    """Write the two files and tell how many rows they have; a `scale` of 1 is the size of Amazon-M2."""
    rng = generator(seed, "look-alike of Amazon-M2")
    sizes = {locale: max(round(products * scale), 20) for locale, products in PRODUCTS.items()}
    ids = dict(_ids(sizes))
    return _write(folder / "products_train.csv", _products(ids, rng)) + _write(
        folder / "sessions_train.csv", _sessions(ids, scale, rng)
    )


def _write(path: Path, chunks: Iterator[pl.DataFrame]) -> int:
    rows = 0
    with path.open("wb") as file:
        for chunk in chunks:
            chunk.write_csv(file, include_header=rows == 0)
            rows += chunk.height
    return rows


def _ids(sizes: dict[str, int]) -> Iterator[tuple[str, pl.Series]]:
    """The ids of each locale; the last of one are the first of the next."""
    begin = 0
    for locale, size in sizes.items():
        numbers = np.arange(begin, begin + size, dtype=np.int64)
        yield locale, _named(numbers)
        begin += round((1 - _SOLD_ELSEWHERE) * size)


def _named(numbers: Ints) -> pl.Series:
    """Ids of ten characters, mixed up but different for different numbers; one in ten is a book's, all digits."""
    mixed = numbers * _MIXER + 11  # without factors of 36 or 10, so that the last digits differ as the numbers do
    is_book = numbers % 10 == 0
    digits = np.empty((numbers.size, 10), dtype=np.uint8)
    for place in range(9, -1, -1):
        base = np.where(is_book, 10, 36)
        digits[:, place] = _DIGITS[mixed % base]
        mixed //= base
    digits[~is_book, :2] = np.frombuffer(b"B0", dtype=np.uint8)
    return pl.Series("id", digits.view("S10").ravel().astype("U10").tolist(), dtype=pl.String)


def _products(ids: dict[str, pl.Series], rng: np.random.Generator) -> Iterator[pl.DataFrame]:
    for locale, known in ids.items():
        phrases = Phrases(LANGUAGES[locale], 5, rng, "shop_marks")
        for begin in range(0, len(known), CHUNK):
            yield _described(known[begin : begin + CHUNK], locale, phrases, rng)


def _described(ids: pl.Series, locale: str, phrases: Phrases, rng: np.random.Generator) -> pl.DataFrame:
    size = len(ids)
    one = np.ones(size, dtype=np.int64)
    words = phrases.texts(one, rng).str.split(" ")
    price = np.where(rng.random(size) < 0.05, _NO_PRICE, np.round(rng.lognormal(3, 1, size=size), 2))
    columns = {
        "id": ids,
        "locale": pl.Series([locale]).new_from_index(0, size),
        "title": phrases.texts(around(4, size, rng), rng),
        "price": pl.Series(price),
        "brand": words.list.first().str.to_titlecase() + " " + words.list.last(),
        "color": words.list.get(1, null_on_oob=True),
        "size": pl.Series(rng.integers(1, 400, size=size)).cast(pl.String) + ' x 20 cm, 3"',
        "model": ids.str.slice(3, 5) + "-" + pl.Series(rng.integers(99, size=size)).cast(pl.String),
        "material": words.list.get(2, null_on_oob=True),
        "author": phrases.texts(one, rng),
        "desc": phrases.texts(around(12, size, rng), rng),
    }
    gaps = {name: pl.Series(rng.random(size) < share) for name, share in _MISSING.items()}
    return pl.DataFrame(
        {name: column.set(gaps[name], None) if name in gaps else column for name, column in columns.items()}
    )


def _sessions(ids: dict[str, pl.Series], scale: float, rng: np.random.Generator) -> Iterator[pl.DataFrame]:
    for locale, sessions in SESSIONS.items():
        size = max(round(sessions * scale), 10)
        for begin in range(0, size, CHUNK):
            rows = min(CHUNK, size - begin)
            lengths = np.minimum(2 + rng.lognormal(0.33, 1.13, size=rows).astype(np.int64), 475)
            items = _visited(len(ids[locale]), int(lengths.sum()), rng)
            yield pl.DataFrame(
                {
                    "prev_items": _as_numpy_prints(ids[locale].gather(items), lengths),
                    "next_item": ids[locale].gather(_visited(len(ids[locale]), rows, rng)),
                    "locale": pl.Series([locale]).new_from_index(0, rows),
                }
            )


def _visited(products: int, events: int, rng: np.random.Generator) -> Ints:
    codes = (products * rng.random(events) ** 2).astype(np.int64)
    again = np.flatnonzero(rng.random(events) < _AGAIN)
    codes[again] = codes[again - 1]
    return codes


def _as_numpy_prints(items: pl.Series, lengths: Ints) -> pl.Series:
    place = np.arange(len(items)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    before = np.where(place == 0, 0, np.where(place % _IDS_A_LINE == 0, 2, 1))
    row = np.repeat(np.arange(lengths.size), lengths)
    words = pl.Series(["['", " '", "\n '"]).gather(before) + items + "'"
    texts = (
        pl.DataFrame({"row": row, "word": words}).group_by("row", maintain_order=True).agg(pl.col("word").str.join(""))
    )
    return texts["word"] + "]"
