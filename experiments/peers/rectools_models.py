"""SASRec and BERT4Rec of RecTools on the tables of `export_events.py`, tuned on validation; writes a scores file.

In the environment of README.md:
python experiments/peers/rectools_models.py peers/products sasrec --out peers/products/rectools-sasrec.parquet
"""

import argparse
import json
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

MODELS = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel}
GRID = [dict(zip(("epochs", "dropout_rate"), chosen, strict=True)) for chosen in product((15, 40), (0.2, 0.4))]
KS = (3, 5, 10)
USERS_AT_ONCE = 100
LONGEST, NEARLY_ALL = 50, 0.99


def as_dataset(users: list[str], items: list[str], orders: list[int]) -> Dataset:
    """Interactions of RecTools; the order of events stands for their time."""
    times = pd.Timestamp("2000-01-01") + pd.to_timedelta(orders, unit="D")
    columns = {Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: times}
    return Dataset.construct(pd.DataFrame(columns))


def fit(kind: str, events: pd.DataFrame, settings: dict, seed: int):
    """A fitted model: two blocks, 64 dimensions, softmax over all items.

    It reads so many of the latest events that nearly all users have no more, at most 50, for padding costs as much.
    """
    seed_everything(seed, verbose=False)
    length = min(LONGEST, int(np.ceil(events.groupby("user_id").size().quantile(NEARLY_ALL))))
    model = MODELS[kind](
        n_blocks=2, n_heads=2, n_factors=64, session_max_len=length, loss="softmax", deterministic=True, **settings
    )
    return model.fit(as_dataset(list(events.user_id), list(events.item_id), list(events.order)))


def score(model, candidates: pd.DataFrame, histories: dict[str, list[str]], fitted: set[str]) -> pd.DataFrame:
    """example_id, item_id, score: every example is a user of its own whose events are its history.

    Items that were not fitted tie below all others; examples without a fitted item in the history tie altogether.
    """
    known = {example: [item for item in histories[example] if item in fitted] for example in candidates.example_id}
    examples = [example for example in dict.fromkeys(candidates.example_id) if known[example]]
    parts = []
    for start in range(0, len(examples), USERS_AT_ONCE):
        some = examples[start : start + USERS_AT_ONCE]
        events = [(example, item, place) for example in some for place, item in enumerate(known[example])]
        dataset = as_dataset(*map(list, zip(*events, strict=True)))
        found = model.recommend(some, dataset, k=len(fitted), filter_viewed=False, add_rank_col=False)
        found = found.rename(columns={Columns.User: "example_id", Columns.Item: "item_id", Columns.Score: "score"})
        wanted = candidates.loc[candidates.example_id.isin(some), ["example_id", "item_id"]]
        parts.append(wanted.merge(found, on=["example_id", "item_id"], how="left"))
    scored = candidates[["example_id", "item_id"]].merge(pd.concat(parts), on=["example_id", "item_id"], how="left")
    scored["score"] = scored.score.fillna(scored.score.min() - 1).astype("float32")
    return scored


def mean_recall(candidates: pd.DataFrame, scores: pd.DataFrame) -> float:
    """Mean of recall at 3, 5 and 10 with one target an example; a tie counts by its expected value."""
    both = candidates.merge(scores, on=["example_id", "item_id"])
    target = both[both.label == 1].set_index("example_id").score
    aim = both.example_id.map(target)
    above = (both.score > aim).groupby(both.example_id).sum()
    tied = (both.score == aim).groupby(both.example_id).sum()
    return float(np.mean([np.clip((k - above) / tied, 0, 1).mean() for k in KS]))


def main() -> None:
    """Try the grid on validation, score the test candidates with the best setting, and say what was tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    names = ("fit_events", "histories", "valid_candidates", "candidates")
    events, stories, valid, test = (pd.read_parquet(options.folder / f"{name}.parquet") for name in names)
    histories, fitted = dict(zip(stories.example_id, stories.history, strict=True)), set(events.item_id)
    tried, best = [], (-1.0, None)
    for settings in GRID:
        started = time.monotonic()
        model = fit(options.model, events, settings, options.seed)
        value = mean_recall(valid, score(model, valid, histories, fitted))
        tried.append({"settings": settings, "valid_recall": value, "seconds": round(time.monotonic() - started, 1)})
        print(json.dumps(tried[-1]), flush=True)
        if value > best[0]:
            best = value, model
    options.out.parent.mkdir(parents=True, exist_ok=True)
    score(best[1], test, histories, fitted).to_parquet(options.out, index=False)
    options.out.with_suffix(".json").write_text(json.dumps(tried, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
