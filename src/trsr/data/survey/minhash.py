"""Near-duplicate texts by MinHash over shingles of words, and banding (Broder 1997; Indyk and Motwani 1998).

A shingle is three words in a row; two texts are near duplicates where they share most of their shingles (Jaccard
index). The share of equal signature places estimates it. Texts that are equal in all places of a band meet in a
bucket, and each is compared with the first one there, so work grows with the number of texts and not with its square.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

WORDS_READ = 300
"""Words at the beginning of a text that are compared."""

SHINGLE = 3
BANDS, ROWS = 16, 4
SIMILAR = 0.8
PAIRS_AT_ONCE = 10_000

_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)


def shingles(texts: pl.Series) -> tuple[Hashes, Ints]:
    """Hashes of the shingles of normalised texts one after another, and how many each text has, at least one.

    A text of fewer than three words has a single shingle, of all of them.
    """
    split = texts.str.split(" ").list.head(WORDS_READ)
    lengths = split.list.len().cast(pl.Int64).to_numpy()
    words = split.explode(empty_as_null=True).hash(2).to_numpy()
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    ends = np.repeat(starts + lengths, lengths)
    place = np.arange(words.size)
    combined = words.copy()
    for step in range(1, SHINGLE):
        there = place + step < ends
        following = np.where(there, words[np.minimum(place + step, words.size - 1)], np.uint64(step))
        combined = mixed(combined * np.uint64(3) + following)
    counts = np.maximum(lengths - SHINGLE + 1, 1)
    kept = place - np.repeat(starts, lengths) < np.repeat(counts, lengths)
    return combined[kept], counts


def hash_functions(rng: np.random.Generator, places: int = BANDS * ROWS) -> Hashes:
    """The odd factors of random hash functions, one for each place of a signature."""
    return rng.integers(1, 2**63, size=places, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def signatures(texts: pl.Series, functions: Hashes) -> Hashes:
    """The least hash of every text under each function, (texts, functions)."""
    hashes, counts = shingles(texts)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    return np.stack([np.minimum.reduceat(mixed(hashes * factor), starts) for factor in functions], axis=1)


def near_pairs(signed: Hashes) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    """Pairs of rows that are likely `SIMILAR`, every row at most once as the second, and the estimated similarity."""
    first, second = list[Ints](), list[Ints]()
    for band in range(BANDS):
        key = signed[:, band * ROWS : (band + 1) * ROWS]
        whole = np.zeros(len(key), np.uint64)
        for place in range(ROWS):
            whole = mixed(whole * np.uint64(5) + key[:, place])
        _, heads, bucket = np.unique(whole, return_index=True, return_inverse=True)
        head = heads[bucket]
        others = np.flatnonzero(head != np.arange(len(key)))
        first.append(head[others])
        second.append(others)
    pairs = np.unique(np.stack([np.concatenate(first), np.concatenate(second)], axis=1), axis=0)
    parts = np.array_split(pairs, len(pairs) // PAIRS_AT_ONCE + 1)
    alike = np.concatenate([(signed[part[:, 0]] == signed[part[:, 1]]).mean(axis=1) for part in parts])
    kept = np.flatnonzero(alike >= SIMILAR)
    kept = kept[np.argsort(-alike[kept], kind="stable")]
    _, once = np.unique(pairs[kept, 1], return_index=True)
    kept = kept[np.sort(once)]
    return pairs[kept, 0], pairs[kept, 1], alike[kept]


def mixed(numbers: Hashes) -> Hashes:
    """Every number scattered over all 64 bits, equal ones alike."""
    scattered = (numbers ^ (numbers >> _SHIFT)) * _MIX
    return np.asarray(scattered ^ (scattered >> np.uint64(29)), np.uint64)
