"""Who and what the means hide: the same metrics over parts of the test examples, such as cold items and new users."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl

from trsr.config import EvaluationConfig
from trsr.evaluation.evaluate import Evaluation, over_users

POPULARITY = (0, 1, 5, 20, 100, 500)
HISTORY = (1, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Segment:
    """The examples of which `quantity` is a whole number from `low` to `high`, both included; None is no end."""

    group: str
    bucket: str
    quantity: str
    low: int
    high: int | None


def segments(config: EvaluationConfig) -> list[Segment]:
    """All segments, those of a group one after another; each group parts the examples.

    `item_events` are the fitted events of an example's target (of several, of the one with most), `user_events` those
    of its user, `history` all events of the user before the target.
    """
    rare = config.rare_below
    return [
        Segment("item", "new", "item_events", 0, 0),
        Segment("item", "rare", "item_events", 1, rare - 1),
        Segment("item", "known", "item_events", rare, None),
        *_buckets("popularity", "item_events", POPULARITY),
        Segment("user", "new", "user_events", 0, 0),
        Segment("user", "known", "user_events", 1, None),
        *_buckets("history", "history", HISTORY),
    ]


def measure_segments(
    evaluation: Evaluation, quantities: pl.DataFrame, config: EvaluationConfig
) -> dict[str, dict[str, Any]]:
    """The content of segments.json: `{GROUP/BUCKET: {group, bucket, low, high, examples, users, metrics}}`.

    `quantities` has `example_id` and the columns that segments are of. Metrics are means over the users of the segment
    with their intervals, as in metrics.json. A segment without an example is left out.
    """
    names = [name for name in evaluation.per_user.columns if name not in ("model", "user_id")]
    rows = evaluation.examples.join(quantities, on="example_id", how="left", maintain_order="left")
    found = {}
    for segment in segments(config):
        high = pl.lit(value=True) if segment.high is None else pl.col(segment.quantity) <= segment.high
        inside = rows.select((pl.col(segment.quantity) >= segment.low) & high).to_series()
        if not inside.any():
            continue
        users = rows["user_id"].filter(inside)
        per_example = {model: values[inside.to_numpy()] for model, values in evaluation.per_example.items()}
        found[f"{segment.group}/{segment.bucket}"] = {
            "group": segment.group,
            "bucket": segment.bucket,
            "low": segment.low,
            "high": segment.high,
            "examples": users.len(),
            "users": users.n_unique(),
            "metrics": over_users(per_example, users, names, config)[0],
        }
    return found


def _buckets(group: str, quantity: str, bounds: Sequence[int]) -> list[Segment]:
    between = [
        Segment(group, str(low) if low == next_low - 1 else f"{low}-{next_low - 1}", quantity, low, next_low - 1)
        for low, next_low in pairwise(bounds)
    ]
    return [*between, Segment(group, f"{bounds[-1]}+", quantity, bounds[-1], None)]
