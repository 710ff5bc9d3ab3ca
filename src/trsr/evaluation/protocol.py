"""The name of what a target was ranked against, because a metric over sampled candidates means nothing without it.

Negatives (label 0) are counted per example and source. Each source is a letter and a number: `u20` where every
example has 20 uniform negatives, `i~37` where counts differ and the median example has 37 from impressions.
Several sources are joined in the order u, p, i, r, x: `u10+p10`. `full` is the whole catalogue, without a number, and
`x` stands for all sources that have no letter of their own.
"""

import re

import polars as pl

LETTERS = {"uniform": "u", "popular": "p", "impression": "i", "retrieved": "r", "other": "x"}
OTHER = "other"
WHOLE, FULL = "catalogue", "full"


def negative_protocol(candidates: pl.DataFrame) -> str:
    """Protocol of a candidates frame, such as `u20`; empty where there is no negative."""
    named = pl.when(pl.col("source").is_in([*LETTERS, WHOLE])).then("source").otherwise(pl.lit(OTHER))
    counts = candidates.group_by("example_id").agg(
        ((pl.col("label") == 0) & (named == source)).sum().alias(source) for source in (*LETTERS, WHOLE)
    )
    parts = []
    for source, letter in LETTERS.items():
        count = counts[source].sort()
        if count[-1] > 0:
            middle = int(count[len(count) // 2])
            parts.append(f"{letter}{middle}" if count[0] == count[-1] else f"{letter}~{middle}")
    if (counts[WHOLE] > 0).any():
        parts.append(FULL)
    return "+".join(parts)


def describe_protocol(protocol: str) -> str:
    """The same in words, `about 37 impression negatives`; what is no protocol of ours stays as it is."""
    if protocol == FULL:
        return "all other items of the catalogue"
    sources = {letter: source for source, letter in LETTERS.items()}
    parts = re.findall(rf"([{''.join(sources)}])(~?)(\d+)", protocol)
    words = [f"{'about ' if about else ''}{count} {sources[letter]}" for letter, about, count in parts]
    return f"{' and '.join(words)} negatives" if words else protocol
