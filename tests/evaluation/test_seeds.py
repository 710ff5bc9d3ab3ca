"""What a user would lose: a gain that is smaller than what another seed does."""

import polars as pl
import pytest

from trsr.errors import DataError
from trsr.evaluation.seeds import SeedSpread, spread_over_seeds


def run(values, metric="recall@3/u20"):
    rows = [(model, f"u{user}", value) for model, users in values.items() for user, value in enumerate(users)]
    return pl.DataFrame(rows, schema=["model", "user_id", metric], orient="row")


def test_the_spread_is_that_of_the_means_of_the_runs():
    runs = [run({"a": [0, 1], "b": [1, 1]}), run({"a": [1, 1], "b": [1, 1]}), run({"a": [0, 0.0, 0.75], "b": [1, 1]})]
    found = spread_over_seeds(runs)
    assert found["a"]["recall@3/u20"] == SeedSpread(pytest.approx(1.75 / 3), pytest.approx(0.381881308), 0.25, 1.0, 3)
    assert found["b"]["recall@3/u20"] == SeedSpread(1.0, 0.0, 1.0, 1.0, 3)


def test_one_run_has_no_spread_and_a_model_counts_where_it_is():
    found = spread_over_seeds([run({"a": [0, 1]}), run({"a": [1, 1], "b": [0, 0.5]})])
    assert found["b"]["recall@3/u20"] == SeedSpread(0.25, None, 0.25, 0.25, 1)
    assert found["a"]["recall@3/u20"].runs == 2
    assert spread_over_seeds([]) == {}


def test_runs_that_measured_something_else_are_refused():
    with pytest.raises(DataError, match=r"^run 2: its metrics are not those of run 1 \(recall@3/u20, recall@3/u50\)"):
        spread_over_seeds([run({"a": [0]}), run({"a": [0]}, "recall@3/u50")])
    with pytest.raises(DataError, match=r"^run 1: no column user_id; give the per_user\.parquet of a run$"):
        spread_over_seeds([run({"a": [0]}).drop("user_id")])
