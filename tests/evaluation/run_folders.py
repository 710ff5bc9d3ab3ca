"""Run folders written by hand, small and with hostile texts, for tests of the report."""

import json

import polars as pl

EVIL = "<script>alert(1)</script>"


def interval(mean, half=0.0312):
    return {"mean": mean, "low": mean - half, "high": mean + half}


METRICS = {
    "chance": {"recall@3/u20": interval(0.1429), "mrr@3/u20": interval(0.0873)},
    "popularity": {"recall@3/u20": interval(0.3661), "mrr@3/u20": interval(0.2542)},
    "trsr-recurrent": {"recall@3/u20": interval(0.5383), "mrr@3/u20": interval(0.3944)},
}
STORY = {
    "user_id": f"reader {EVIL}",
    "target": f"The Ledger {EVIL}",
    "model": "trsr-recurrent",
    "method": "recurrent",
    "blocks": [[f"Glass Harbour {EVIL}"], ["Salt and Iron"]],
    "steps": ["Likes sea mysteries.", "Likes sea mysteries, nature writing."],
    "summary": "Likes sea mysteries, nature writing.",
    "recent": ["Winter Field Guide"],
    "ranked": [
        {"item_id": "i1", "text": f"Tides {EVIL}", "probability": 0.931, "label": 0},
        {"item_id": "i2", "text": "The Ledger", "probability": 0.882, "label": 1},
    ],
}
WIN = STORY | {"kind": "win", "user_id": "winner", "against": "popularity", "rank": 2.0, "rank_against": 9.5}
TRAINING = {
    "steps": [{"step": i, "loss": 1 / i} for i in range(1, 1001)],
    "evaluations": [
        {"step": 0, "valid_loss": 0.9, "valid_recall": 0.151},
        {"step": 500, "valid_loss": 0.5, "valid_recall": 0.512},
        {"step": 1000, "valid_loss": 0.6, "valid_recall": 0.48},
    ],
    "best_step": 500,
}
COMPARISON = {
    "metric": "recall@3/u20",
    "model": f"trsr-recurrent {EVIL}",
    "against": "popularity",
    "difference": 0.1722,
    "low": 0.0811,
    "high": 0.2633,
    "p": 0.0004,
    "p_holm": 0.0008,
    "smallest_detectable": 0.1234,
    "users": 1080,
}
CHECKS = [
    {"check": "target in prompts", "result": "ok", "detail": f"0 of 12 {EVIL}"},
    {"check": "scores | ties", "result": "look", "detail": "9 %\nof them"},
]
MANIFEST = {
    "name": "bookshop",
    "seed": 7,
    "data": {
        "name": "bookshop",
        "split": "time",
        "examples": {"train": 60, "valid": 20, "test": 20},
        "cleaning": {"users": 300, "events": 4000, "items": 1234567},
    },
    "machine": {"trsr": "0.1.0", "torch": "2.13.0", "device": f"cpu {EVIL}", "threads": 2},
    "seconds": {
        "score popularity": 0.0,
        "score trsr-recurrent": 50.0,
        "train trsr-recurrent": 123.0,
        "data": 12.3456789,
    },
    "scoring": {"trsr-recurrent": {"prompts": 20, "prefix_tokens": 4000, "suffix_tokens": 16000}},
    "summaries": {
        "model": "tiny",
        "calls": {"calls": 200, "tokens_in": 9000, "tokens_out": 1000},
        "of_these_made_now": {"calls": 200, "tokens_in": 9000, "tokens_out": 1000, "seconds": 30.0},
    },
    "finished": "2026-11-22T22:47:18+0000",
}
SETTINGS = {
    "name": "bookshop",
    "seed": 7,
    "methods": ["recurrent"],
    "data": {"bookshop": {"seed": 3}},
    "training": {"learning_rate": 0.001, "loss": "listwise"},
}
CHOICE = {
    "settings": {"days": 30},
    "valid_recall": 0.4125,
    "tried": [{"settings": {"days": 7}, "seconds": 2.4}, {"settings": {"days": 30}, "seconds": 3.1}],
    "chosen": 1,
}


def segment(group, bucket, examples, mean):
    metrics = {"chance": 0.1429, "popularity": 0.3, "trsr-recurrent": mean}
    return {
        "group": group,
        "bucket": bucket,
        "low": 0,
        "high": None,
        "examples": examples,
        "users": examples,
        "metrics": {model: {"recall@3/u20": interval(value)} for model, value in metrics.items()},
    }


SEGMENTS = {
    "popularity/0": segment("popularity", "0", 5, 0.61),
    "popularity/1-4": segment("popularity", "1-4", 15, 0.52),
    "history/1-4": segment("history", "1-4", 20, 0.5),
}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_run(folder, metrics=METRICS, settings=SETTINGS, manifest=MANIFEST):
    """A run folder with what a report needs at least; JSON is YAML."""
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "manifest.json", manifest)
    write_json(folder / "config.yaml", settings)
    return folder


def fill_run(folder):
    """Everything that adds a section."""
    write_json(folder / "training" / "trsr-recurrent.json", TRAINING)
    write_json(folder / "baselines" / "popularity.json", CHOICE)
    write_json(folder / "stories.json", [STORY, WIN])
    write_json(folder / "checks.json", CHECKS)
    write_json(folder / "comparisons.json", [COMPARISON])
    write_json(folder / "segments.json", SEGMENTS)
    pl.DataFrame({"method": ["recurrent"] * 100, "calls": [2] * 100}).write_parquet(folder / "summaries.parquet")
    return folder


def changed(values, **changes):
    """A copy with other values at dotted keys, `training__loss="answer"`."""
    copy = json.loads(json.dumps(values))
    for key, value in changes.items():
        *path, last = key.split("__")
        inner = copy
        for part in path:
            inner = inner[part]
        inner[last] = value
    return copy


def shifted(by):
    """`METRICS` with another result of the ranker."""
    recurrent = {name: interval(value["mean"] + by) for name, value in METRICS["trsr-recurrent"].items()}
    return METRICS | {"trsr-recurrent": recurrent}


def with_users(run, gain):
    """Twenty users who rank the same candidates; with the tuned ranker every other one gains."""
    write_json(run / "metrics.json", shifted(gain))
    values = {"chance": [0.1] * 20, "popularity": [0.25] * 20}
    values["trsr-recurrent"] = [0.3 + gain * (1 + user % 2) for user in range(20)]
    rows = [
        {"model": model, "user_id": f"u{user:02}", "recall@3/u20": value, "mrr@3/u20": value}
        for model, of_users in values.items()
        for user, value in enumerate(of_users)
    ]
    pl.DataFrame(rows).write_parquet(run / "per_user.parquet")
    pairs = {"example_id": ["a", "a"], "item_id": ["x", "y"], "label": [0, 1]}
    pl.DataFrame(pairs).write_parquet(run / "candidates.parquet")
    return run
