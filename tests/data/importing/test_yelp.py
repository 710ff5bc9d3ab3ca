import json

import pytest
from json_sources import LAYOUTS, imported, quarantined, write, write_json

from trsr.config import ImportConfig
from trsr.data.importing.source import Source
from trsr.data.readers.yelp import READER
from trsr.errors import DataError

BUSINESS, REVIEW = "yelp_academic_dataset_business.json", "yelp_academic_dataset_review.json"


@pytest.mark.parametrize("name", LAYOUTS)
def test_recognises_its_own_layout_and_no_other(tmp_path, name):
    LAYOUTS[name](tmp_path / name)
    assert bool(READER.recognise(Source(tmp_path / name))) == (name == "yelp")


def business(number, **fields):
    return {
        "business_id": number,
        "name": f"Bar {number}",
        "address": "1 Main St",
        "city": "Philadelphia",
        "state": "PA",
        "stars": 4.5,
        "review_count": 80,
        "attributes": {"BusinessParking": "{'garage': False}"},
        "categories": "Restaurants, Food,  Bubble Tea",
        "hours": None,
        **fields,
    }


def review(user, number, stars=4.0, date="2018-07-07 22:09:11"):
    texts = {"review_id": "KU_O5udG6zpxOg", "useful": 0, "text": 'If you, "so"\n[x] \u00e9 \U0001f600', "date": date}
    return {"user_id": user, "business_id": number, "stars": stars, **texts}


def test_businesses_and_reviews_and_nothing_else(tmp_path, monkeypatch):
    source = tmp_path / "yelp"
    write_json(
        source / BUSINESS, [business("b1"), business("b2", categories=None, name="Caf\u00e9 &amp; Bar", city="")]
    )
    write_json(source / REVIEW, [review("u1", "b1"), review("u1", "b2", 1.0, "2016-03-09"), review("u1", "b1", 5.0)])
    write_json(source / "yelp_academic_dataset_tip.json", [{"user_id": "u1", "business_id": "b1", "text": "x"}])
    items, interactions, report = imported(READER, source, monkeypatch)
    place = {"city": "Philadelphia", "state": "PA"}
    assert items == [
        {"item_id": "b1", "name": "Bar b1", "categories": ["Restaurants", "Food", "Bubble Tea"], **place},
        {"item_id": "b2", "name": "Caf\u00e9 & Bar", "categories": None, "city": None, "state": "PA"},
    ]
    assert interactions == [
        {"user_id": "u1", "item_id": "b1", "timestamp": 1531001351, "rating": 4.0},
        {"user_id": "u1", "item_id": "b2", "timestamp": 1457481600, "rating": 1.0},
        {"user_id": "u1", "item_id": "b1", "timestamp": 1531001351, "rating": 5.0},
    ]
    assert [count.file for count in report.files] == [BUSINESS, REVIEW]


def test_categories_as_a_list_and_compressed_files(tmp_path, monkeypatch):
    source = tmp_path / "yelp"
    write_json(source / f"{BUSINESS}.gz", [business("b1", categories=["Food", "Bars"])])
    write_json(source / f"{REVIEW}.gz", [review("u1", "b1")])
    items, _, _ = imported(READER, source, monkeypatch)
    assert items[0]["categories"] == ["Food", "Bars"]


def test_bad_rows_are_told_with_their_lines(tmp_path, monkeypatch):
    source = tmp_path / "yelp"
    write_json(source / BUSINESS, [business("b1")])
    lines = [json.dumps(review("u", "b1")) for _ in range(16)]
    lines += [
        json.dumps(review("u", "b1", date="yesterday")),
        json.dumps(review(None, "b1")),
        '{"user_id": ["u"]}',
        "[]",
    ]
    write(source / REVIEW, "\n".join(lines))
    _, interactions, _ = imported(READER, source, monkeypatch, max_bad=0.25)
    assert len(interactions) == 16
    assert sorted(quarantined(source)) == [
        (REVIEW, 17, "a date that is not like 2018-07-07 22:09:11"),
        (REVIEW, 18, "no user_id"),
        (REVIEW, 19, "user_id is no text"),
        (REVIEW, 20, "not an object of JSON"),
    ]


def test_says_which_files_are_missing(tmp_path):
    write_json(tmp_path / BUSINESS, [business("b1")])
    with pytest.raises(DataError, match=r"unpacked from the \.tar"):
        READER.layout(Source(tmp_path), ImportConfig())
