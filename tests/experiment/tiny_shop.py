"""A tiny bookshop, a tiny random model and the settings of an experiment that runs in seconds."""

from pathlib import Path
from typing import Any

import yaml

from tiny import make_model, make_tokenizer, save_folder
from trsr.config import BookshopConfig, ExperimentConfig, parse_settings
from trsr.data.bookshop import make_bookshop, write_bookshop

NEGATIVES, TRAIN_NEGATIVES, TESTS = 9, 3, 7
SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "methods": ["none", "hierarchical", "recurrent"],
    "data": {"attributes": ["title", "subjects"], "min_history": 4},
    "split": {"by": "users", "valid": 0.2, "test": 0.3},
    "candidates": {"negatives": NEGATIVES, "train_negatives": TRAIN_NEGATIVES},
    "prompt": {"template": "books", "recent_items": 2, "item_tokens": 24, "candidate_tokens": 24, "summary_tokens": 24},
    "summaries": {"dtype": "float32", "block_size": 4, "item_tokens": 24, "max_new_tokens": 8, "batch_size": 4},
    "ranker": {"dtype": "float32", "pass_tokens": 512},
    "training": {"epochs": 1, "learning_rate": 1e-2, "examples_per_step": 3, "loss": "listwise"},
    "evaluation": {"ks": [3, 5], "resamples": 100},
    "checks": {"control_examples": 0},
}
BOOKSHOP = BookshopConfig(books=60, readers=24, seed=5)


def make_base(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A random Llama in fp32; its short context is enough here and quick to set up."""
    tokenizer = make_tokenizer()
    return save_folder(folder, make_model("llama", seed, vocabulary=len(tokenizer), **changes), tokenizer)


def make_shop(folder: Path) -> Path:
    write_bookshop(make_bookshop(BOOKSHOP), folder)
    return folder


def settings(base: Path, shop: Path, **changes: dict[str, Any] | Any) -> dict[str, Any]:
    """Plain values of an experiment; a mapping in `changes` is merged into its section."""
    values = {name: dict(value) if isinstance(value, dict) else value for name, value in SETTINGS.items()}
    values["data"]["path"] = str(shop)
    values["ranker"]["base"] = values["summaries"]["model"] = str(base)
    for name, value in changes.items():
        values[name] = values.get(name, {}) | value if isinstance(value, dict) else value
    return values


def config_of(base: Path, shop: Path, **changes: Any) -> ExperimentConfig:
    return parse_settings(ExperimentConfig, settings(base, shop, **changes), "test")


def write_config(path: Path, base: Path, shop: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(settings(base, shop, **changes)), encoding="utf-8")
    return path
