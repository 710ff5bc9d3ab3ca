"""People with two tastes on a tiny catalogue whose texts say the taste: every baseline can learn something here."""

from pathlib import Path

import numpy as np
import polars as pl

from tiny import make_model, make_tokenizer, save_folder
from trsr.config import ExperimentConfig, parse_settings

USERS, ITEMS, TASTES, EVENTS = 80, 60, 4, 12
COLD = ("i58", "i59")  # in the catalogue, in no event
WORDS = ("garden rose tulip", "engine piston gear", "violin cello flute", "bread flour oven")


def write_world(folder: Path) -> Path:
    """Items of four tastes; a user stays with one and, most of the time, goes on to the next item of it."""
    rng = np.random.default_rng(11)
    ids = [f"i{item:02d}" for item in range(ITEMS)]
    texts = [f"{WORDS[item % TASTES]} {chr(97 + item // TASTES) * 3}" for item in range(ITEMS)]
    rows = []
    for user in range(USERS):
        taste, place = user % TASTES, int(rng.integers(14))
        for event in range(EVENTS):
            place = (place + 1) % 14 if rng.random() < 0.9 else int(rng.integers(14))
            rows.append((f"u{user:02d}", ids[place * TASTES + taste], event))
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"item_id": ids, "title": texts}).write_parquet(folder / "items.parquet")
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    events.write_parquet(folder / "interactions.parquet")
    return folder


def world_config(folder: Path, **changes: object) -> ExperimentConfig:
    values = {
        "name": "world",
        "seed": 5,
        "methods": [],
        "data": {"path": str(folder), "min_history": 4},
        "split": {"by": "last"},
        "candidates": {"negatives": 9},
        "evaluation": {"ks": [3], "resamples": 100},
    }
    return parse_settings(ExperimentConfig, values | changes, "test")


def make_encoder(folder: Path) -> Path:
    tokenizer = make_tokenizer()
    return save_folder(folder, make_model(vocabulary=len(tokenizer)), tokenizer)
