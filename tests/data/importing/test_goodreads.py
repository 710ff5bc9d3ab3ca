import json

import pytest
from json_sources import LAYOUTS, imported, quarantined, write, write_json

from trsr.config import ImportConfig
from trsr.data.importing.source import Source
from trsr.data.readers.goodreads import READER
from trsr.errors import DataError

ADDED = "Thu Mar 22 15:43:02 -0700 2012"
SECONDS = 1332456182


@pytest.mark.parametrize("name", LAYOUTS)
def test_recognises_its_own_layout_and_no_other(tmp_path, name):
    LAYOUTS[name](tmp_path / name)
    assert bool(READER.recognise(Source(tmp_path / name))) == (name == "goodreads")


def book(number, **fields):
    return {
        "isbn": "0151686564",
        "text_reviews_count": "626",
        "series": [],
        "popular_shelves": [],
        "authors": [],
        "description": "",
        "publication_year": "",
        "book_id": number,
        "title": f"Book {number}",
        "average_rating": "4.1",
        **fields,
    }


def event(user, number, rating=5, added=ADDED):
    return {
        "user_id": user,
        "book_id": number,
        "review_id": "r",
        "isRead": True,
        "rating": rating,
        "date_added": added,
        "date_updated": ADDED,
        "read_at": "",
        "started_at": "",
    }


def test_books_with_and_without_the_names_of_authors_and_series(tmp_path, monkeypatch):
    source = tmp_path / "poetry"
    shelves = [
        {"count": str(90 - n), "name": name} for n, name in enumerate(["to-read", "poetry", "owned", "classics"])
    ]
    odes = book(
        "1",
        authors=[
            {"author_id": "7", "role": ""},
            {"author_id": "8", "role": "Translator"},
            {"author_id": "9", "role": ""},
        ],
        series=["70"],
        popular_shelves=shelves,
        description="Odes &amp; more.<br />All of them.",
        publication_year="1997",
    )
    write_json(source / "goodreads_books_poetry.json.gz", [odes, book("2")])
    write_json(source / "goodreads_interactions_poetry.json.gz", [event("u", "1"), event("u", "2", 0)])
    items, interactions, report = imported(READER, source, monkeypatch)
    plain = {"publication_year": "1997", "shelves": ["poetry", "classics"], "description": "Odes & more. All of them."}
    assert items[0] == {"item_id": "1", "title": "Book 1", **plain}
    assert (items[1]["title"], items[1]["publication_year"], items[1]["description"]) == ("Book 2", None, None)
    assert interactions == [
        {"user_id": "u", "item_id": "1", "timestamp": SECONDS, "rating": 5.0},
        {"user_id": "u", "item_id": "2", "timestamp": SECONDS, "rating": None},
    ]
    assert report.attributes == ["title", "publication_year", "shelves", "description"]

    more = tmp_path / "more"
    write_json(more / "goodreads_books_poetry.json.gz", [odes])
    write_json(more / "goodreads_interactions_poetry.json.gz", [event("u", "1")])
    write_json(
        more / "goodreads_book_authors.json.gz",
        [{"author_id": "7", "name": "Ann", "ratings_count": "3"}, {"author_id": "8", "name": "Bob"}],
    )
    write_json(more / "goodreads_book_series.json.gz", [{"series_id": "70", "title": "Odes", "works": "2"}])
    items, _, report = imported(READER, more, monkeypatch)
    assert items == [{"item_id": "1", "title": "Book 1", "authors": ["Ann", "Bob"], "series": ["Odes"], **plain}]
    assert report.attributes == ["title", "authors", "series", "publication_year", "shelves", "description"]


def test_reviews_serve_where_there_are_no_interactions(tmp_path, monkeypatch):
    source = tmp_path / "poetry"
    write_json(source / "goodreads_books_poetry.json", [book("1")])
    write_json(
        source / "goodreads_reviews_poetry.json", [{**event("u", "1", 4), "review_text": "so {good} \U0001f600"}]
    )
    _, interactions, _ = imported(READER, source, monkeypatch)
    assert interactions == [{"user_id": "u", "item_id": "1", "timestamp": SECONDS, "rating": 4.0}]


def test_files_that_hold_the_same_again_are_left_out_and_told(tmp_path, monkeypatch):
    source = tmp_path / "all"
    write_json(source / "goodreads_books.json.gz", [book("1"), book("2")])
    write_json(source / "goodreads_books_poetry.json.gz", [book("1")])
    write_json(source / "goodreads_interactions_dedup.json.gz", [event("u", "1"), event("v", "2")])
    write_json(source / "goodreads_interactions_poetry.json.gz", [event("u", "1")])
    write_json(source / "goodreads_reviews_dedup.json.gz", [event("u", "1")])
    items, interactions, report = imported(READER, source, monkeypatch)
    assert (len(items), len(interactions)) == (2, 2)
    assert report.notes == [
        "left out, as other files hold the same or more: goodreads_books_poetry.json, "
        "goodreads_interactions_poetry.json, goodreads_reviews_dedup.json"
    ]


def test_bad_rows_are_told_with_their_lines(tmp_path, monkeypatch):
    source = tmp_path / "poetry"
    write_json(source / "goodreads_books_poetry.json.gz", [book("1")])
    lines = [json.dumps(event("u", "1", n % 6)) for n in range(16)]
    lines += ["{bad", json.dumps(event("u", None)), json.dumps(event("u", "1", 5, "2012-03-22"))]
    write(source / "goodreads_interactions_poetry.json.gz", "\n".join(lines))
    _, interactions, _ = imported(READER, source, monkeypatch, max_bad=0.2)
    assert len(interactions) == 16
    assert quarantined(source) == [
        ("goodreads_interactions_poetry.json", 17, "not an object of JSON"),
        ("goodreads_interactions_poetry.json", 18, "no book_id"),
        (
            "goodreads_interactions_poetry.json",
            19,
            "a date_added that is not like Thu Mar 22 15:43:02 -0700 2012",
        ),
    ]


def test_the_csv_of_all_interactions_through_the_maps_of_its_ids(tmp_path, monkeypatch):
    source = tmp_path / "csv"
    write_json(source / "goodreads_books.json.gz", [book("12"), book("34")])
    rows = ["0,0,1,5,0", "0,1,1,0,0", "1,1,0,3,1", "1,9,0,3,1", "1,0,0,4,1"]
    write(source / "goodreads_interactions.csv", "\n".join(["user_id,book_id,is_read,rating,is_reviewed", *rows]))
    with pytest.raises(DataError, match=r"goodreads_interactions.csv without book_id_map.csv"):
        READER.layout(Source(source), ImportConfig())
    write(source / "book_id_map.csv", "book_id_csv,book_id\n0,34\n1,12\n")
    _, interactions, report = imported(READER, source, monkeypatch, max_bad=0.2)
    own = [("0", "34", 2, 5.0), ("0", "12", 3, None), ("1", "12", 4, 3.0), ("1", "34", 6, 4.0)]
    assert [tuple(row.values()) for row in interactions] == own
    assert list(interactions[0]) == ["user_id", "item_id", "position", "rating"]
    assert quarantined(source) == [("goodreads_interactions.csv", 5, "a book_id that book_id_map.csv does not have")]
    assert report.notes == [
        "goodreads_interactions.csv has no times: the order of its rows stands for that of the events"
    ]
    write(source / "user_id_map.csv", "user_id_csv,user_id\n0,ann\n1,bob\n")
    (tmp_path / "csv-imported").rename(tmp_path / "before")
    _, interactions, _ = imported(READER, source, monkeypatch, max_bad=0.2)
    assert [row["user_id"] for row in interactions] == ["ann", "ann", "bob", "bob"]


def test_says_which_files_are_missing(tmp_path):
    write_json(tmp_path / "goodreads_books.json.gz", [book("1")])
    with pytest.raises(DataError, match="give the folder of both"):
        READER.layout(Source(tmp_path), ImportConfig())
