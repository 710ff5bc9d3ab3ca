"""Small frames in the shape of the two dataset files."""

import polars as pl

from trsr.config import DataConfig
from trsr.data.dataset import Dataset

CONFIG = DataConfig(path="unused", min_history=1)


def make_items(*ids):
    return pl.DataFrame({"item_id": list(ids), "title": [f"Title of {item}" for item in ids]})


def make_events(*rows, columns=("user_id", "item_id", "timestamp")):
    return pl.DataFrame(list(rows), schema=list(columns), orient="row")


def load(items, events, seed=7, **settings):
    return Dataset.from_frames(items, events, config=CONFIG.model_copy(update=settings), seed=seed, name="shop")


def make_dataset(users=30, length=8, items=60, seed=7, stride=10, **settings):
    """`users` histories of `length` distinct items; users begin `stride` seconds apart, events are 1 s apart."""
    events = [
        (f"u{user:03d}", f"i{(user * 7 + step * 11) % items:03d}", user * stride + step)
        for user in range(users)
        for step in range(length)
    ]
    return load(make_items(*(f"i{item:03d}" for item in range(items))), make_events(*events), seed, **settings)
