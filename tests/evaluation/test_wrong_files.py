"""What a user would lose: a number from a file that is not what it seems, or a traceback in place of a sentence.

Both files are spoilt at random; what comes out is a sentence, or numbers that are as before for every user whose rows
are as before.
"""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trsr.config import EvaluationConfig
from trsr.data.candidates import check_candidates, read_candidates
from trsr.data.reading import ScannedTable, read_table
from trsr.errors import DataError
from trsr.evaluation.comparisons import compare_with
from trsr.evaluation.evaluate import Evaluation, evaluate

CONFIG = EvaluationConfig(ks=[1, 3], resamples=100)
PAIR = ["example_id", "item_id"]


def make_tables():
    """Six users with one or two examples of four to six candidates, and scores with a few ties."""
    rng = np.random.default_rng(1)
    rows = []
    for example in range(9):
        for item in range(4 + example % 3):
            label, source = (1, "target") if item == example % 4 else (0, "uniform")
            rows.append((f"e{example}", f"u{example * 2 // 3}", f"i{item}", label, source))
    schema = {"example_id": pl.String, "user_id": pl.String, "item_id": pl.String, "label": pl.Int8}
    candidates = pl.DataFrame(rows, schema=schema | {"source": pl.String}, orient="row")
    values = pl.Series("score", rng.integers(5, size=len(rows)).astype(np.float32))
    return candidates, candidates.select(*PAIR, values)


CANDIDATES, SCORES = make_tables()


def measure(folder):
    return measure_frames(read_candidates(folder / "candidates.parquet"), read_table(folder / "mine.parquet"))


def measure_frames(candidates, scores):
    evaluation = evaluate(candidates, {"mine": scores}, CONFIG)
    compared = compare_with(evaluation, "chance", CONFIG)
    assert all(np.isfinite([one.difference, one.low, one.high, one.p_holm]).all() for one in compared)
    return evaluation


def by_user(evaluation: Evaluation) -> dict[str, list[float]]:
    mine = evaluation.per_user.filter(pl.col("model") == "mine").drop("model")
    return {user: values for user, *values in mine.iter_rows()}


def rows_by_user(candidates, scores):
    joined = (
        candidates.select(*PAIR, "user_id", "label")
        .join(scores.select(*PAIR, "score"), on=PAIR, how="left")
        .sort(*PAIR)
    )
    rows = {}
    for example, item, user, label, score in joined.iter_rows():
        rows.setdefault(user, []).append((example, item, int(label), float(score)))
    return rows


def check(spoilt_candidates, spoilt_scores, folder):
    """Whether there were numbers."""
    spoilt_candidates.write_parquet(folder / "candidates.parquet")
    spoilt_scores.write_parquet(folder / "mine.parquet")
    try:
        found = by_user(measure(folder))
    except DataError as error:
        assert_one_sentence(error)
        return False
    before, expected = rows_by_user(CANDIDATES, SCORES), by_user(measure_frames(CANDIDATES, SCORES))
    after = rows_by_user(spoilt_candidates, spoilt_scores)
    assert found.keys() == after.keys()
    for user, rows in after.items():
        if rows == before.get(user):
            assert found[user] == expected[user], user
        assert all(0 <= value <= 1 for value in found[user])
    return True


def assert_one_sentence(error):
    text = str(error)
    assert "\n" not in text
    assert "; " in text
    assert len(text) < 500
    assert text.startswith(("scores of mine: ", "candidates: ")) or ".parquet: " in text


ROW = st.integers(0, 10_000)


def put(frame, column, row, value):
    """One cell changed; a value of another kind changes the kind of the column."""
    values = frame[column].to_list()
    values[row % max(1, len(values))] = value
    return frame.with_columns(pl.Series(column, values, strict=False))


def drop_row(frame, row, _):
    return pl.concat([frame.slice(0, row % len(frame)), frame.slice(row % len(frame) + 1)]) if len(frame) else frame


def drop_half(frame, row, _):
    return frame.slice(row % 2 * (len(frame) // 2), len(frame) // 2)


def drop_example(frame, row, _):
    return frame.filter(pl.col("example_id") != f"e{row % 9}") if "example_id" in frame.columns else frame


def double_row(frame, row, _):
    return pl.concat([frame, frame.slice(row % len(frame), 1)]) if len(frame) else frame


def shuffle(frame, row, _):
    return frame.sample(fraction=1, shuffle=True, seed=row)


def swap_columns(frame, row, _):
    first, second = frame.columns[row % frame.width], frame.columns[row // 7 % frame.width]
    return frame.rename({first: second, second: first}) if first != second else frame


def drop_column(frame, row, _):
    return frame.drop(frame.columns[row % frame.width])


def add_column(frame, row, _):
    return frame.with_columns(pl.lit(row).alias("extra"))


def reorder_columns(frame, row, _):
    return frame.select(random.Random(row).sample(frame.columns, frame.width))


def other_kind(frame, row, _):
    kinds = [pl.String, pl.Int64, pl.Float32, pl.Float64, pl.Boolean, pl.Categorical, pl.Date, pl.List(pl.Int64)]
    kind, column = kinds[row % len(kinds)], frame.columns[row // 11 % frame.width]
    try:
        return frame.with_columns(pl.col(column).cast(kind, strict=False))
    except pl.exceptions.PolarsError:
        return frame.with_columns(pl.Series(column, [None] * len(frame), dtype=kind))


def odd_cell(frame, row, value):
    column = frame.columns[row % frame.width]
    return put(frame, column, row // 5, value) if len(frame) else frame


def other_user(frame, row, _):
    if "user_id" not in frame.columns or "example_id" not in frame.columns:
        return frame
    moved = pl.col("example_id") == f"e{row % 9}"
    return frame.with_columns(pl.when(moved).then(pl.lit("u-other")).otherwise("user_id").alias("user_id"))


def other_ids(frame, row, _):
    column = frame.columns[row % frame.width]
    return frame.with_columns(pl.format("{}?", pl.col(column).cast(pl.String, strict=False)).alias(column))


SPOIL = [
    *(drop_row, drop_half, drop_example, double_row, shuffle, swap_columns, drop_column, add_column),
    *(reorder_columns, other_kind, odd_cell, odd_cell, other_user, other_ids),
]
ODD = [float("nan"), float("inf"), -float("inf"), None, 1e308, -1e308, 5e-324, 0, 2, -1, "e1", "i0", "", "u0\nu1", True]
changes = st.lists(
    st.tuples(st.sampled_from(SPOIL), ROW, st.sampled_from(ODD), st.sampled_from(["candidates", "scores", "both"])),
    min_size=1,
    max_size=3,
)


def spoilt(frame, spoil, row, value):
    """The frame as it is where an earlier change left nothing that this one could change."""
    try:
        return spoil(frame, row, value) if frame.width else frame
    except pl.exceptions.PolarsError:
        return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("spoilt")


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(changes)
def test_spoilt_tables_give_a_sentence_or_the_numbers_of_what_was_not_touched(folder, plan):
    candidates, scores = CANDIDATES, SCORES
    for spoil, row, value, where in plan:
        if where != "scores":
            candidates = spoilt(candidates, spoil, row, value)
        if where != "candidates":
            scores = spoilt(scores, spoil, row, value)
    check(candidates, scores, folder)


@pytest.mark.parametrize("spoil", [shuffle, add_column, reorder_columns])
def test_what_says_the_same_gives_the_same(folder, spoil):
    assert check(spoil(CANDIDATES, 5, None), spoil(SCORES, 6, None), folder)


def test_leaving_out_an_example_or_giving_a_huge_score_changes_no_other_user(folder):
    assert check(drop_example(CANDIDATES, 4, None), drop_example(SCORES, 4, None), folder)
    assert check(CANDIDATES, put(SCORES, "score", 3, 1e308), folder)
    assert not check(drop_example(CANDIDATES, 4, None), SCORES, folder)
    assert not check(CANDIDATES, drop_example(SCORES, 4, None), folder)


def cut(data, rng):
    return data[: rng.randrange(len(data))]


def noise(data, rng):
    return data[: rng.choice([0, 4])] + rng.randbytes(rng.randrange(300)) + data[-8 * rng.randrange(2) :]


@pytest.mark.parametrize("name", ["candidates", "mine"])
@pytest.mark.parametrize("damage", [cut, noise])
def test_cut_and_random_files_give_a_sentence(tmp_path, name, damage):
    CANDIDATES.write_parquet(tmp_path / "candidates.parquet")
    SCORES.write_parquet(tmp_path / "mine.parquet")
    path = tmp_path / f"{name}.parquet"
    whole, rng = path.read_bytes(), random.Random(3)
    for _ in range(60):
        path.write_bytes(damage(whole, rng))
        with pytest.raises(DataError) as error:
            measure(tmp_path)
        assert_one_sentence(error.value)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("damaged", ["candidates", "scores"])
def test_files_with_wrong_bytes_give_a_sentence_or_finite_numbers(tmp_path, damaged):
    """Where a wrong byte is a length, polars can end the whole process for want of memory; nothing else may."""
    CANDIDATES.write_parquet(tmp_path / "candidates.parquet")
    SCORES.write_parquet(tmp_path / "scores.parquet")
    whole, rng, count = (tmp_path / f"{damaged}.parquet").read_bytes(), random.Random(3), 200
    for number in range(count):
        changed = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 5])):
            changed[rng.randrange(4, len(changed))] = rng.randrange(256)
        (tmp_path / f"{number:03}.parquet").write_bytes(changed)
    outcomes, out_of_memory = [], 0
    while len(outcomes) + out_of_memory < count:
        start = len(outcomes) + out_of_memory
        script = Path(__file__).with_name("damaged_files.py")
        command = [sys.executable, str(script), str(tmp_path), damaged, str(start)]
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"RUST_BACKTRACE": "0"}
        )
        outcomes += child.stdout.splitlines()
        if child.returncode:
            assert "memory allocation" in child.stderr, child.stderr
            out_of_memory += 1
    assert out_of_memory <= 0.03 * count
    sentences = [line for line in outcomes if line not in ("numbers", "no numbers")]
    assert len(sentences) > count // 3
    assert all(re.search(r"/[0-9]{3}\.parquet: |scores of mine: ", line) for line in sentences)
    assert "no numbers" not in outcomes


def test_a_panic_of_polars_is_a_damaged_file(tmp_path, monkeypatch):
    def panic(*_, **__):
        raise pl.exceptions.PanicException("called `Option::unwrap()` on a `None` value")

    path = tmp_path / "scores.parquet"
    SCORES.write_parquet(path)
    table = ScannedTable.open(path)
    monkeypatch.setattr(pl, "read_parquet", panic)
    sentence = f"{path}: the Parquet file is truncated or damaged; copy or write it again"
    with pytest.raises(DataError) as error:
        read_table(path)
    assert str(error.value) == sentence
    with pytest.raises(DataError) as error, table.reading():
        panic()
    assert str(error.value) == sentence


def test_an_example_has_one_user():
    two = put(CANDIDATES, "user_id", 1, "u5")
    with pytest.raises(DataError, match=r"row 2: example 'e0' has another user above; an example has one user$"):
        check_candidates(two, "candidates.parquet")
