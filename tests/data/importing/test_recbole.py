"""RecBole's atomic files: a user would otherwise write a converter back."""

import pytest
from whole_imports import RECBOLE, imported, quarantined, recognised, write

from trsr.errors import DataError

ITEMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tprice:float\tvector:float_seq\n"
    '1\tToy Story\t1995\tAnimation Comedy\t12.5\t0.1 0.2\n2\tThe 12" ruler\t\t\t\t0.3 0.4\n'
)


def test_fields_become_columns_and_texts_stay_as_they_are(tmp_path):
    events = (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "196\t1\t3\t881250949\n186\t2\t4.5\t891717742.0\n\t2\t4\t5\n186\t2\tgood\t5\n186\t2\t4\n"
    )
    source = write(tmp_path / "ml", {"ml.item": ITEMS, "ml.inter": events, "ml.user": "user_id:token\n1\n"})
    items, interactions, report = imported("auto", source, tmp_path, max_bad=0.7)
    assert items.to_dicts() == [
        {
            "item_id": "1",
            "movie_title": "Toy Story",
            "release_year": "1995",
            "class": "Animation Comedy",
            "price": "12.5",
        },
        {"item_id": "2", "movie_title": 'The 12" ruler', "release_year": None, "class": None, "price": None},
    ]
    assert interactions.rows() == [("196", "1", 881250949, 3.0), ("186", "2", 891717742, 4.5)]
    assert report.notes == ["ml.item: left out, vectors: vector:float_seq", "ml.user: not read"]
    assert quarantined(tmp_path) == [
        ("ml.inter", 4, "no user"),
        ("ml.inter", 5, "a rating that is no number"),
        ("ml.inter", 6, "3 fields where 4 belong"),
    ]


def test_another_separator_and_sessions_for_users(tmp_path):
    files = {
        "shop.item": "item_id:token,title:token_seq\r\n1,A ruler\r\n",
        "shop.inter": "session_id:token,item_id:token,timestamp:float\r\ns1,1,1.5\r\n",
    }
    items, interactions, _ = imported("auto", write(tmp_path / "shop", files), tmp_path)
    assert items.rows() == [("1", "A ruler")]
    assert interactions.rows() == [("s1", "1", 1.5)]


def test_split_files_are_read_one_behind_the_other_but_not_beside_the_whole(tmp_path):
    head = "user_id:token\titem_id:token\ttimestamp:float\n"
    files = {**RECBOLE, "shop.train.inter": f"{head}1\t1\t3\n", "shop.valid.inter": f"{head}1\t1\t4\n"}
    _, whole, _ = imported("recbole", write(tmp_path / "a", files), tmp_path)
    assert whole["timestamp"].to_list() == [964982703]
    del files["shop.inter"]
    _, parts, _ = imported("recbole", write(tmp_path / "b", files), tmp_path / "parts")
    assert parts["timestamp"].to_list() == [3, 4]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"shop.inter": "user_id:token\titem_id:token\n1\t1\n"}, "no field timestamp"),
        ({"shop.inter": "user_id\titem_id\ttimestamp\n1\t1\t5\n"}, "no fields like user_id:token"),
        (
            {"shop.inter": "session_id:token\titem_id_list:token_seq\titem_id:token\n1\t1 2\t3\n"},
            "cut into prefixes",
        ),
        ({"other.item": RECBOLE["shop.item"]}, "2 files"),
        (
            {"shop.inter": "user_id:token\titem_id:token\ttimestamp:float\n1\t1\t1700000000000\n"},
            "beyond the year 9999",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        imported("recbole", write(tmp_path / "shop", {**RECBOLE, **files}), tmp_path)


def test_its_own_layout_is_recognised_and_no_other(tmp_path):
    assert recognised("recbole", tmp_path) == {"recbole"}
