"""Look-alikes have what makes the true data sets hard to read: the import benchmark would flatter us otherwise."""

import re

import numpy as np
import polars as pl
import pytest

from trsr.benchmarks.lookalikes.amazon_m2 import PRODUCTS, SESSIONS, write_amazon_m2
from trsr.benchmarks.lookalikes.mind import write_mind

MIND = {"separator": "\t", "has_header": False, "quote_char": None, "infer_schema": False}
SCALE = 0.002


@pytest.fixture(scope="module")
def mind(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mind")
    return folder, write_mind(folder, SCALE, 7)


@pytest.fixture(scope="module")
def m2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m2")
    return folder, write_amazon_m2(folder, SCALE, 7)


def test_behaviors_are_like_those_of_mind(mind):
    folder, rows = mind
    news = pl.read_csv(folder / "news.tsv", **MIND)
    names = ["impression", "user", "time", "history", "shown"]
    seen = pl.read_csv(folder / "behaviors.tsv", new_columns=names, **MIND)
    assert rows == news.height + seen.height
    assert (seen.height, seen["user"].n_unique()) == (round(2_232_748 * SCALE), round(711_222 * SCALE))
    assert seen["impression"].to_list() == [str(number + 1) for number in range(seen.height)]
    assert seen["time"].str.to_datetime("%m/%d/%Y %I:%M:%S %p").dt.date().n_unique() == 6
    assert not seen["time"].str.contains(r"(^|/| )0\d").any()
    per_user = seen.group_by("user").agg(pl.col("history").n_unique())
    assert per_user["history"].max() == 1
    histories = seen.unique("user")["history"]
    assert 0.005 < histories.is_null().mean() < 0.04
    ids = histories.drop_nulls().str.split(" ")
    assert 25 < ids.list.len().mean() < 40
    assert set(ids.explode()) <= set(news["column_0"])


def test_impressions_show_distinct_news_and_a_few_are_clicked(mind):
    shown = pl.read_csv(mind[0] / "behaviors.tsv", **MIND)["column_4"].str.split(" ")
    assert shown.list.eval(pl.element().str.contains(r"^N\d+-[01]$")).list.all().all()
    assert (shown.list.len() == shown.list.n_unique()).all()
    assert 30 < shown.list.len().mean() < 42
    clicks = shown.list.eval(pl.element().str.ends_with("-1")).list.sum()
    assert (clicks.min(), clicks.max()) == (1, 4)


def test_abstracts_are_missing_and_have_quotes_that_never_end(mind):
    news = pl.read_csv(mind[0] / "news.tsv", **MIND)
    abstracts = news["column_4"]
    assert news["column_0"].n_unique() == news.height
    assert 0.02 < abstracts.is_null().mean() < 0.09
    assert abstracts.str.starts_with('"').any()
    assert abstracts.str.contains('"').mean() > 0.2
    assert news["column_6"].str.json_decode(pl.List(pl.Struct({"Label": pl.String}))).list.len().mean() > 0.5


def test_sessions_are_lists_as_numpy_prints_them(m2):
    folder, rows = m2
    sessions = pl.read_csv(folder / "sessions_train.csv")
    products = pl.read_csv(folder / "products_train.csv", infer_schema=False)
    assert rows == sessions.height + products.height
    for text in sessions["prev_items"]:
        assert text == str(np.array(re.findall(r"'(\w+)'", text), dtype=object))
    assert sessions["prev_items"].str.contains("\n").mean() > 0.1
    assert dict(sessions["locale"].value_counts().iter_rows()) == {
        locale: round(number * SCALE) for locale, number in SESSIONS.items()
    }
    known = set(products.select("id", "locale").iter_rows())
    nexts = sessions.select("next_item", "locale").iter_rows()
    visited = sessions.with_columns(pl.col("prev_items").str.extract_all(r"\w{10}")).explode("prev_items")
    assert {*nexts, *visited.select("prev_items", "locale").iter_rows()} <= known


def test_products_have_texts_that_must_be_quoted_cleaned_and_told_apart(m2):
    products = pl.read_csv(m2[0] / "products_train.csv", infer_schema=False)
    assert products.height == sum(max(round(number * SCALE), 20) for number in PRODUCTS.values())
    assert products.select("id", "locale").is_unique().all()
    assert products["id"].n_unique() < products.height
    assert (products["id"].str.len_chars() == 10).all()
    titles, texts = products["title"].str.split(" "), products["desc"].drop_nulls()
    assert 17 < titles.list.len().mean() < 24
    assert 55 < texts.str.split(" ").list.len().mean() < 70
    for piece in (",", '"', "&amp;", "<br>", "ö", "犬"):
        assert texts.str.contains(piece, literal=True).any()


@pytest.mark.parametrize("write", [write_mind, write_amazon_m2])
def test_the_seed_decides_every_byte(write, tmp_path):
    made = {}
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, 0.0005, seed)
        made[name] = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    assert made["one"] == made["two"]
    assert all(made["one"][name] != content for name, content in made["three"].items())
