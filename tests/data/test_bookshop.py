from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.feature_extraction.text import TfidfVectorizer

from trsr.config import BookshopConfig
from trsr.data.bookshop import Bookshop, make_bookshop, write_bookshop
from trsr.data.bookshop.oracle import oracle_scores, read_truth
from trsr.errors import ConfigError, DataError

FRAMES = ("items", "interactions", "item_truth", "reader_truth")
NEGATIVES = 20
CHANCE = 3 / (NEGATIVES + 1)


@pytest.fixture(scope="module")
def shop() -> Bookshop:
    return make_bookshop(BookshopConfig())


@pytest.fixture(scope="module")
def trials(shop: Bookshop) -> pl.DataFrame:
    """The last event of every reader beside uniform negatives it has not read; the target comes first."""
    rng = np.random.default_rng(0)
    rows = []
    for (user,), events in shop.interactions.group_by("user_id", maintain_order=True):
        history = events["item_id"].to_list()
        unread = sorted(set(shop.items["item_id"]) - set(history))
        negatives = rng.choice(unread, NEGATIVES, replace=False).tolist()
        rows += [
            {"example_id": f"e-{user}", "user_id": user, "item_id": item, "cut": len(history) - 1}
            for item in [history[-1], *negatives]
        ]
    return pl.DataFrame(rows)


def cuts_of(trials: pl.DataFrame) -> dict[str, int]:
    return dict(trials.select("example_id", "cut").unique().iter_rows())


def recall_at_3(scores: np.ndarray) -> float:
    """Expected over tied orders."""
    table = scores.reshape(-1, NEGATIVES + 1)
    above = (table[:, 1:] > table[:, :1]).sum(axis=1)
    tied = (table[:, 1:] == table[:, :1]).sum(axis=1)
    return float(np.clip((3 - above) / (tied + 1), 0, 1).mean())


def overlap_scores(shop: Bookshop, trials: pl.DataFrame, last: int) -> np.ndarray:
    """Mean TF-IDF cosine between a candidate's text and the texts of the last books before the target."""
    texts = shop.items.select(pl.concat_str("title", "subjects", "description", separator=" ", ignore_nulls=True))
    vectors = TfidfVectorizer().fit_transform(texts.to_series().to_list()).toarray()
    row_of = {item: row for row, item in enumerate(shop.items["item_id"])}
    scores = []
    for (user,), group in trials.group_by("user_id", maintain_order=True):
        history = shop.interactions.filter(pl.col("user_id") == user)["item_id"].to_list()[:-1][-last:]
        profile = vectors[[row_of[item] for item in history]].mean(axis=0)
        scores.append(vectors[[row_of[item] for item in group["item_id"]]] @ profile)
    return np.concatenate(scores)


def test_same_seed_same_bookshop_and_another_seed_another() -> None:
    config = BookshopConfig(books=60, readers=20)
    first, again = make_bookshop(config), make_bookshop(config)
    other = make_bookshop(config.model_copy(update={"seed": 8}))
    for name in FRAMES:
        assert_frame_equal(getattr(first, name), getattr(again, name))
        assert not getattr(first, name).equals(getattr(other, name))


def test_frames_follow_the_dataset_contract(shop: Bookshop) -> None:
    assert shop.items.schema == dict.fromkeys(("item_id", "title", "author", "subjects", "description"), pl.String)
    assert shop.interactions.schema == {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    assert shop.item_truth.columns == ["item_id", "main", "secondary", "mood", "popularity"]
    assert shop.reader_truth.columns == ["user_id", "order", "lasting", "passing", "mood"]
    assert shop.items["item_id"].n_unique() == len(shop.items) == BookshopConfig().books
    assert shop.interactions["user_id"].n_unique() == BookshopConfig().readers
    assert shop.items.drop("subjects").null_count().sum_horizontal().item() == 0
    assert 0.10 < shop.items["subjects"].is_null().mean() < 0.20
    assert set(shop.interactions["item_id"]) <= set(shop.items["item_id"])


def test_readers_keep_to_the_configured_length_and_never_read_a_book_twice(shop: Bookshop) -> None:
    lengths = shop.interactions.group_by("user_id").len()["len"]
    assert (lengths.min(), lengths.max()) == (BookshopConfig().min_events, BookshopConfig().max_events)
    assert not shop.interactions.select("user_id", "item_id").is_duplicated().any()


def test_descriptions_are_whole_short_and_varied(shop: Bookshop) -> None:
    descriptions = shop.items["description"]
    lengths = descriptions.str.split(" ").list.len()
    assert lengths.min() >= 40
    assert lengths.max() <= 80
    assert not descriptions.str.contains(r"[{}]|\b[Aa] [aeiou]").any()
    sentences = descriptions.str.split(". ").explode(empty_as_null=True)
    assert sentences.is_duplicated().mean() < 0.15
    assert descriptions.str.split(". ").list.first().n_unique() == len(descriptions)


def test_titles_are_unique_and_hide_in_no_other_text(shop: Bookshop) -> None:
    titles = shop.items["title"]
    assert titles.n_unique() == len(titles)
    everything = "\n".join([*titles, *shop.items["description"]]).lower()
    assert [title for title in titles if everything.count(title.lower()) != 1] == []


def test_the_largest_catalogue_still_has_unique_titles() -> None:
    items = make_bookshop(BookshopConfig(books=5000, readers=1)).items
    assert items["title"].n_unique() == items["item_id"].n_unique() == 5000


def test_ids_tell_nothing(shop: Bookshop) -> None:
    books = shop.item_truth.sort("item_id")
    rank = pl.int_range(pl.len())
    assert abs(books.select(pl.corr(rank, "popularity", method="spearman")).item()) < 0.12
    theme_follows_theme = (books["main"] == books["main"].shift(1)).mean()
    assert theme_follows_theme < 2 / books["main"].n_unique()


def test_text_of_one_theme_shares_its_words(shop: Bookshop) -> None:
    vectors = TfidfVectorizer().fit_transform(shop.items["description"].to_list()).toarray()
    likeness = vectors @ vectors.T
    main = shop.item_truth["main"].to_numpy()
    same = main[:, None] == main[None, :]
    apart = ~np.eye(len(main), dtype=bool)
    assert likeness[same & apart].mean() > 1.7 * likeness[~same].mean()


def test_time_never_runs_back_and_taste_does_not_drift_within_a_purchase(shop: Bookshop) -> None:
    events = pl.concat([shop.interactions, shop.reader_truth.drop("user_id")], how="horizontal")
    step = events.select(
        gap=pl.col("timestamp").diff().over("user_id"),
        drifted=(pl.col("passing") != pl.col("passing").shift(1)).over("user_id"),
    ).drop_nulls()
    assert step["gap"].min() == 0
    assert 0.01 < (step["gap"] == 0).mean() < 0.06
    assert not step.filter(pl.col("gap") == 0)["drifted"].any()
    assert 0.15 < step["drifted"].mean() < 0.35
    assert shop.reader_truth.select(pl.col("lasting").list.contains(pl.col("passing")).any()).item() is False


def test_oracle_beats_popularity_beats_chance(shop: Bookshop, trials: pl.DataFrame) -> None:
    oracle = recall_at_3(oracle_scores(shop.truth, trials, cuts_of(trials)))
    popularity = trials.join(shop.item_truth, on="item_id", maintain_order="left")["popularity"].to_numpy()
    assert 0.80 < oracle < 0.93
    assert CHANCE + 0.08 < recall_at_3(popularity) < 0.40


def test_the_whole_history_tells_more_than_the_last_books(shop: Bookshop, trials: pl.DataFrame) -> None:
    recent = recall_at_3(overlap_scores(shop, trials, last=3))
    whole = recall_at_3(overlap_scores(shop, trials, last=BookshopConfig().max_events))
    assert CHANCE + 0.15 < recent < whole - 0.08


def test_oracle_reads_the_taste_at_the_cut(shop: Bookshop, trials: pl.DataFrame) -> None:
    user, lasting = shop.reader_truth.select("user_id", "lasting").row(0)
    passing = shop.reader_truth.filter(pl.col("user_id") == user)["passing"].to_list()
    later = next(order for order, theme in enumerate(passing) if theme != passing[0])
    books = shop.item_truth.filter(~pl.col("secondary").is_in([*lasting, *passing]))
    book = books.filter(pl.col("main") == passing[later])["item_id"][0]
    candidates = pl.DataFrame({"example_id": ["a", "b"], "user_id": [user, user], "item_id": [book, book]})
    before, after = oracle_scores(shop.truth, candidates, {"a": 0, "b": later})
    assert after > before + 1


def test_oracle_works_from_the_written_folder_in_any_row_order(
    shop: Bookshop, trials: pl.DataFrame, tmp_path: Path
) -> None:
    write_bookshop(shop, tmp_path / "shop")
    mixed = trials.sample(fraction=1, shuffle=True, seed=1)
    mixed = mixed.with_columns(score=oracle_scores(shop.truth, mixed, cuts_of(trials)))
    back = trials.join(mixed, on=["example_id", "item_id"], maintain_order="left")["score"].to_numpy()
    read = oracle_scores(read_truth(tmp_path / "shop"), trials, cuts_of(trials))
    np.testing.assert_array_equal(read, back)


@pytest.mark.parametrize(
    ("change", "cuts", "message"),
    [
        ({"example_id": "zz"}, {"e": 0}, "example_id is not among the cuts"),
        ({"item_id": "zz"}, {"e": 0}, "item_id is not in item_truth"),
        ({}, {"e": 99}, "no event at the cut"),
    ],
)
def test_oracle_names_the_row_it_cannot_score(
    shop: Bookshop, change: dict[str, str], cuts: dict[str, int], message: str
) -> None:
    row = {"example_id": "e", "user_id": "r0000", "item_id": shop.items["item_id"][0]} | change
    with pytest.raises(DataError, match=message):
        oracle_scores(shop.truth, pl.DataFrame([row]), cuts)


def test_written_folder_reads_back_and_is_never_overwritten(shop: Bookshop, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "shop"
    write_bookshop(shop, folder)
    for name in FRAMES:
        assert_frame_equal(pl.read_parquet(folder / f"{name}.parquet"), getattr(shop, name))
    with pytest.raises(ConfigError, match="already exists"):
        write_bookshop(make_bookshop(BookshopConfig(books=50, readers=1)), folder)
    assert_frame_equal(pl.read_parquet(folder / "items.parquet"), shop.items)


def test_a_failed_write_leaves_nothing(shop: Bookshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet = pl.DataFrame.write_parquet

    def full_disk(frame: pl.DataFrame, path: Path) -> None:
        if path.name == "item_truth.parquet":
            raise OSError(28, "No space left on device")
        write_parquet(frame, path)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full_disk)
    with pytest.raises(ConfigError, match="No space left on device"):
        write_bookshop(shop, tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="item_truth"):
        read_truth(tmp_path)
