"""Small downloads in the true layouts of formats of JSON lines, and what a reader makes of them."""

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from trsr.config import ImportConfig
from trsr.data.importing.importer import ImportReport, import_dataset
from trsr.data.importing.reader import Reader

Imported = tuple[list[dict[str, Any]], list[dict[str, Any]], ImportReport]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_json(path: Path, records: Iterable[Any]) -> None:
    write(path, "".join(json.dumps(record) + "\n" for record in records))


def write_literals(path: Path, records: Iterable[Any]) -> None:
    write(path, "".join(repr(record) + "\n" for record in records))


def imported(reader: Reader, source: Path, monkeypatch, **settings: Any) -> Imported:
    """Items and interactions as rows, and the report."""
    monkeypatch.setattr("trsr.data.importing.importer.choose_reader", lambda *_: (reader, "named"))
    target = source.parent / f"{source.name}-imported"
    report = import_dataset(reader.name, source, target, ImportConfig(**settings))
    tables = (pl.read_parquet(target / f"{name}.parquet").to_dicts() for name in ("items", "interactions"))
    return next(tables), next(tables), report


def quarantined(source: Path) -> list[tuple[str, int, str]]:
    """File, line and reason of each bad row of what `imported` read."""
    lines = (source.parent / f"{source.name}-imported" / "quarantine.jsonl").read_text().splitlines()
    return [(row["file"], row["line"], row["reason"]) for row in map(json.loads, lines)]


def amazon_2014(folder: Path) -> None:
    write_literals(
        folder / "meta_Toys.json.gz",
        [{"asin": "B000000001", "title": "Kite", "imUrl": "http://host.invalid/x", "categories": [["Toys"]]}],
    )
    review = {"reviewerID": "A2SUAM1J3GNN3B", "asin": "B000000001", "overall": 5.0, "unixReviewTime": 1252800000}
    write_json(folder / "reviews_Toys_5.json.gz", [review])


def amazon_2018(folder: Path) -> None:
    write_json(folder / "meta_Gift.json.gz", [{"category": ["Gift"], "title": "Card", "asin": "B000000001"}])
    review = {"overall": 5.0, "verified": True, "reviewerID": "A2SUAM1J3GNN3B", "asin": "B000000001"}
    write_json(folder / "Gift.json.gz", [{**review, "unixReviewTime": 1252800000}])


def amazon_2018_ratings(folder: Path) -> None:
    write_json(folder / "meta_Gift.json.gz", [{"category": ["Gift"], "title": "Card", "asin": "B000000001"}])
    write(folder / "Gift.csv", "B000000001,A2SUAM1J3GNN3B,5.0,1252800000\n")


def amazon_2023(folder: Path) -> None:
    write_json(
        folder / "meta_Beauty.jsonl", [{"main_category": "Beauty", "title": "Soap", "parent_asin": "B000000001"}]
    )
    review = {"rating": 5.0, "title": "Good", "text": "Soap", "asin": "B000000002", "parent_asin": "B000000001"}
    write_json(folder / "Beauty.jsonl", [{**review, "user_id": "AGK", "timestamp": 1588687728923}])


def splits(folder: Path) -> None:
    products = {"0": {"title": "Relay", "description": "['Fast.']", "brand": "Supco", "categories": ""}}
    write(folder / "Tools.item.json", json.dumps(products, indent=2))
    write(folder / "Tools.test.csv", 'user_id,history_item_id,item_id\nA1,"[0, 0]",0\n')


def goodreads(folder: Path) -> None:
    write_json(folder / "goodreads_books_poetry.json.gz", [{"book_id": "1", "title": "Odes", "authors": []}])
    event = {"user_id": "u", "book_id": "1", "rating": 5, "date_added": "Thu Mar 22 15:43:02 -0700 2012"}
    write_json(folder / "goodreads_interactions_poetry.json.gz", [event])


def yelp(folder: Path) -> None:
    write_json(
        folder / "yelp_academic_dataset_business.json", [{"business_id": "b", "name": "Bar", "categories": "Bars"}]
    )
    review = {"review_id": "r", "user_id": "u", "business_id": "b", "stars": 4.0, "date": "2018-07-07 22:09:11"}
    write_json(folder / "yelp_academic_dataset_review.json", [review])


def steam(folder: Path) -> None:
    write_literals(folder / "steam_games.json.gz", [{"app_name": "Chess", "id": "10", "title": "Chess"}])
    review = {"username": "ann", "product_id": "10", "date": "2017-12-17", "hours": 1.5}
    write_literals(folder / "steam_reviews.json.gz", [review])


def mind(folder: Path) -> None:
    write(folder / "news.tsv", "N1\tnews\tworld\tTitle\t\t\t\t\n")
    write(folder / "behaviors.tsv", "1\tU1\t11/12/2019 2:14:46 PM\tN1\tN1-1\n")


def amazon_m2(folder: Path) -> None:
    write(folder / "products_train.csv", "id,locale,title\nB09W9FND7K,UK,Lamp\n")
    write(folder / "sessions_train.csv", "prev_items,next_item,locale\n['B09W9FND7K'],B09W9FND7K,UK\n")


def movielens(folder: Path) -> None:
    write(folder / "movies.csv", "movieId,title,genres\n1,Heat (1995),Action\n")
    write(folder / "ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n")


def dataset_folder(folder: Path) -> None:
    folder.mkdir(parents=True)
    pl.DataFrame({"item_id": ["1"], "title": ["Heat"]}).write_parquet(folder / "items.parquet")
    events = pl.DataFrame({"user_id": ["u"], "item_id": ["1"], "timestamp": [1]})
    events.write_parquet(folder / "interactions.parquet")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    layout.__name__: layout
    for layout in (
        amazon_2014,
        amazon_2018,
        amazon_2018_ratings,
        amazon_2023,
        splits,
        goodreads,
        yelp,
        steam,
        mind,
        amazon_m2,
        movielens,
        dataset_folder,
    )
}
