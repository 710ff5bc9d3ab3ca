"""Baselines behind the ranker's interface: the numbers that a user compares the ranker with."""

import numpy as np
import polars as pl

from trsr.baselines.oracle import Oracle
from trsr.baselines.popularity import Popularity
from trsr.config import BookshopConfig, DataConfig, SplitConfig
from trsr.data.bookshop import make_bookshop
from trsr.data.bookshop.oracle import oracle_scores
from trsr.data.dataset import Dataset
from trsr.data.scoring import RankingRequest
from trsr.data.splits import make_examples


def request(*candidates, example="u@1", user="u"):
    return RankingRequest(example, user, (), candidates)


def test_popularity_counts_the_events_it_was_fitted_on():
    scorer = Popularity.fit(pl.DataFrame({"user_id": list("aabbc"), "item_id": list("xyxzx")}))
    first, second = scorer.score([request("x", "z", "new", "y"), request("new")])
    assert first.tolist() == [3, 1, 0, 1]
    assert second.tolist() == [0]
    assert first.dtype == np.float32


def test_popularity_does_not_see_the_targets_of_validation_and_test():
    """Counting held-out events would give popularity the answers, and make the ranker look worse than it is."""
    times = [1, 2, 3, 4] * 2
    events = pl.DataFrame({"user_id": ["a"] * 4 + ["b"] * 4, "item_id": list("pqrs") * 2, "timestamp": times})
    items = pl.DataFrame({"item_id": list("pqrs"), "title": list("PQRS")})
    dataset = Dataset.from_frames(items, events, config=DataConfig(path="x"), seed=0, name="tiny")
    examples = make_examples(dataset, SplitConfig(by="last"), DataConfig(path="x", min_history=1), 0)
    assert dict(Popularity.fit(examples.fit_events).counts) == {"p": 2, "q": 2}


def test_the_oracle_gives_the_true_utility_at_the_cut_of_each_request():
    shop = make_bookshop(BookshopConfig(books=60, readers=3, seed=5))
    user, items = shop.interactions["user_id"][0], shop.items["item_id"][:4].to_list()
    requests = [request(*items, example="early", user=user), request(*items[::-1], example="late", user=user)]
    cuts = {"early": 1, "late": 8}
    early, late = Oracle(shop.truth, cuts).score(requests)
    rows = pl.DataFrame({"example_id": "early", "user_id": user, "item_id": items})
    np.testing.assert_allclose(early, oracle_scores(shop.truth, rows, cuts), rtol=1e-6)
    late_rows = rows.with_columns(example_id=pl.lit("late")).reverse()
    np.testing.assert_allclose(late, oracle_scores(shop.truth, late_rows, cuts), rtol=1e-6)
    assert (early != late[::-1]).any()
    assert early.dtype == late.dtype == np.float32
