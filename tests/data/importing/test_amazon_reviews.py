import json

import polars as pl
import pytest
from json_sources import LAYOUTS, imported, quarantined, write, write_json, write_literals

from trsr.config import ImportConfig
from trsr.data.importing.source import Source
from trsr.data.readers import amazon18_splits
from trsr.data.readers.amazon_reviews import READER
from trsr.errors import DataError

ANN, BOB = "A2SUAM1J3GNN3B", "AKM1MP6P0OYPR"
KITE, BALL, DOLL = "B000000001", "0000013714", "B000000003"


@pytest.mark.parametrize("name", LAYOUTS)
def test_recognises_its_own_releases_and_no_other_format(tmp_path, name):
    LAYOUTS[name](tmp_path / name)
    source = Source(tmp_path / name)
    assert bool(READER.recognise(source)) == (
        name in ("amazon_2014", "amazon_2018", "amazon_2018_ratings", "amazon_2023")
    )
    assert bool(amazon18_splits.READER.recognise(source)) == (name == "splits")


def test_tells_the_release_and_its_files(tmp_path):
    LAYOUTS["amazon_2014"](tmp_path)
    assert READER.recognise(Source(tmp_path)) == "Amazon Reviews 2014: reviews_Toys_5.json and meta_Toys.json"


def test_other_files_of_the_downloads_are_not_products(tmp_path):
    write_literals(tmp_path / "qa_Toys.json.gz", [{"asin": KITE, "question": "Does it fly?", "answer": "Yes"}])
    write(tmp_path / "numbers.csv", "1,31,2.5,1260759144\n1,1029,3.0,1260759179\n")
    assert READER.recognise(Source(tmp_path)) == ""


def write_2014(folder):
    write_literals(
        folder / "meta_Toys.json.gz",
        [
            {
                "asin": KITE,
                "title": "Kite &amp; line",
                "description": 'It\'s a "kite".\nRed\t\u00e9.',
                "price": 7.5,
                "imUrl": "http://host.invalid/x",
                "brand": "",
                "salesRank": {"Toys": 3},
                "related": {"also_bought": [BALL]},
                "categories": [["Toys", "Outdoor"], ["Toys", "Kites"]],
            },
            {"asin": BALL, "categories": [["Toys"]], "title": "Ball", "brand": "Acme"},
            {"asin": BALL, "categories": [["Toys"]], "title": "Ball", "brand": "Acme"},
        ],
    )


def review_2014(user, item, rating, time):
    texts = {"reviewerName": 'J. "D"', "helpful": [2, 3], "reviewText": "so \u00e9 \U0001f600 [x]", "summary": "{x}"}
    return {"reviewerID": user, "asin": item, **texts, "overall": rating, "unixReviewTime": time, "reviewTime": "x"}


def test_2014_with_literals_missing_fields_and_copies(tmp_path, monkeypatch):
    source = tmp_path / "toys"
    write_2014(source)
    events = [review_2014(ANN, KITE, 5.0, 1252800000), review_2014(BOB, BALL, 1.0, 1252886400)]
    write_json(source / "reviews_Toys.json.gz", [*events, review_2014(ANN, KITE, 4.0, 1252886400)])
    items, interactions, report = imported(READER, source, monkeypatch)
    assert items == [
        {
            "item_id": KITE,
            "title": "Kite & line",
            "brand": None,
            "categories": ["Toys", "Outdoor", "Kites"],
            "price": 7.5,
            "price_range": None,
            "description": 'It\'s a "kite". Red \u00e9.',
        },
        {
            "item_id": BALL,
            "title": "Ball",
            "brand": "Acme",
            "categories": ["Toys"],
            "price": None,
            "price_range": None,
            "description": None,
        },
    ]
    assert interactions == [
        {"user_id": ANN, "item_id": KITE, "timestamp": 1252800000, "rating": 5.0},
        {"user_id": BOB, "item_id": BALL, "timestamp": 1252886400, "rating": 1.0},
        {"user_id": ANN, "item_id": KITE, "timestamp": 1252886400, "rating": 4.0},
    ]
    assert (report.item_copies, report.bad, report.notes) == (1, 0, [])


@pytest.mark.parametrize(
    ("name", "row"),
    [("ratings_Toys.csv", f"{ANN},{KITE},5.0,1252800000"), ("Toys.csv", f"{KITE},{ANN},5.0,1252800000")],
)
def test_ratings_alone_whichever_comes_first_user_or_item(tmp_path, monkeypatch, name, row):
    source = tmp_path / "toys"
    write_2014(source)
    write(source / name, f"{row}\n")
    _, interactions, _ = imported(READER, source, monkeypatch)
    assert interactions == [{"user_id": ANN, "item_id": KITE, "timestamp": 1252800000, "rating": 5.0}]


def test_2018_prices_of_one_number_of_words_and_of_style_sheets(tmp_path, monkeypatch):
    source = tmp_path / "gift"
    prices = [
        "$1,299.00",
        "$5.00 - $9.00",
        ".a-box-inner{background-color:#fff}#alohaBuyBoxWidget .selected{}",
        "",
        float("nan"),
        None,
    ]
    write_json(
        source / "meta_Gift.json.gz",
        [{"asin": f"B00000000{n}", "title": str(n), "price": price} for n, price in enumerate(prices)],
    )
    write_json(source / "Gift.json.gz", [review_2014(ANN, "B000000000", 5.0, 1)])
    items, _, _ = imported(READER, source, monkeypatch)
    assert [(item["price"], item["price_range"]) for item in items] == [
        (1299.0, None),
        (None, "$5.00 - $9.00"),
        (None, None),
        (None, None),
        (None, None),
        (None, None),
    ]


def test_2018_lists_and_their_cleaning(tmp_path, monkeypatch):
    source = tmp_path / "gift"
    product = {
        "category": ["Gift Cards", "</span></span>", "Cards"],
        "description": ["First <b>part</b>.", "", "Second &quot;part&quot;."],
        "title": "Card",
        "brand": "  Acme\n",
        "feature": ["Never expires", "No fees"],
        "rank": "12 in Gift",
        "also_buy": [],
        "price": "$12.99",
        "asin": KITE,
    }
    as_text = {"title": "Text", "description": "['Soft', 'Red']", "category": [], "asin": DOLL}
    write_json(source / "meta_Gift.json", [product, as_text])
    write_json(source / "Gift_5.json", [review_2014(ANN, KITE, 5.0, 1)])
    items, _, _ = imported(READER, source, monkeypatch)
    assert items[0] == {
        "item_id": KITE,
        "title": "Card",
        "brand": "Acme",
        "categories": ["Gift Cards", "Cards"],
        "price": 12.99,
        "price_range": None,
        "features": ["Never expires", "No fees"],
        "description": 'First part . Second "part".',
    }
    assert items[1]["description"] == "Soft, Red"


def test_bad_lines_are_told_with_their_number_and_do_not_stop_the_import(tmp_path, monkeypatch):
    source = tmp_path / "gift"
    write(
        source / "meta_Gift.json.gz",
        "\n".join([*(json.dumps({"asin": f"B{n:09d}", "title": "x"}) for n in range(18)), '{"title": "no id"}', "{'a"]),
    )
    good = [json.dumps(review_2014(ANN, "B000000000", 5.0, time)) for time in range(36)]
    bad = ['{"reviewerID": "A1", "asin": ', json.dumps(review_2014("", KITE, 5.0, 1))]
    bad += [json.dumps(review_2014(ANN, KITE, 5.0, None)), json.dumps(review_2014(ANN, KITE, 5.0, 1588687728923))]
    write(source / "Gift.json.gz", "\n".join([*good[:20], *bad, *good[20:]]))
    _, interactions, report = imported(READER, source, monkeypatch, max_bad=0.1)
    assert len(interactions) == 36
    assert [(count.rows, count.bad) for count in report.files] == [(20, 2), (40, 4)]
    assert quarantined(source) == [
        ("meta_Gift.json", 19, "asin is missing or no text"),
        ("meta_Gift.json", 20, "not an object of JSON"),
        ("Gift.json", 21, "not an object of JSON"),
        ("Gift.json", 22, "no reviewerID"),
        ("Gift.json", 23, "no unixReviewTime, or one that is no whole number"),
        ("Gift.json", 24, "a unixReviewTime that is not in seconds"),
    ]


def write_2023(folder):
    write_json(
        folder / "meta_Beauty.jsonl.gz",
        [
            {
                "main_category": "All Beauty",
                "title": "Soap",
                "average_rating": 4.8,
                "features": ["Mild"],
                "description": ["Clean.", "Fresh."],
                "price": 9.99,
                "images": [{"thumb": "http://host.invalid/x"}],
                "store": "Acme",
                "categories": ["Beauty", "Soap"],
                "details": {"Size": "L"},
                "parent_asin": KITE,
                "bought_together": None,
            },
            {
                "main_category": None,
                "title": "Oil",
                "features": [],
                "description": [],
                "price": "from 12.99",
                "store": None,
                "categories": [],
                "parent_asin": BALL,
            },
        ],
    )


def test_2023_times_in_milliseconds_and_products_of_variants(tmp_path, monkeypatch):
    source = tmp_path / "beauty"
    write_2023(source)
    review = {"rating": 4.0, "title": "Good", "text": "\U0001f600", "images": [], "asin": DOLL, "parent_asin": KITE}
    write_json(source / "Beauty.jsonl.gz", [{**review, "user_id": "AGK", "timestamp": 1588687728923}])
    items, interactions, _ = imported(READER, source, monkeypatch)
    assert items == [
        {
            "item_id": KITE,
            "title": "Soap",
            "store": "Acme",
            "main_category": "All Beauty",
            "categories": ["Beauty", "Soap"],
            "price": 9.99,
            "price_range": None,
            "features": ["Mild"],
            "description": "Clean. Fresh.",
        },
        {
            "item_id": BALL,
            "title": "Oil",
            "store": None,
            "main_category": None,
            "categories": items[1]["categories"],
            "price": None,
            "price_range": "from 12.99",
            "features": items[1]["features"],
            "description": None,
        },
    ]
    assert not items[1]["categories"]
    assert not items[1]["features"]
    assert interactions == [{"user_id": "AGK", "item_id": KITE, "timestamp": 1588687728.923, "rating": 4.0}]


def test_2023_splits_are_put_together_and_bad_rows_told(tmp_path, monkeypatch):
    source = tmp_path / "beauty"
    write_2023(source)
    head = "user_id,parent_asin,rating,timestamp,history\n"
    rows = "".join(f"AGK,{KITE},5.0,{1588687728000 + n},\n" for n in range(17))
    write(source / "Beauty.train.csv", head + rows + f"AGK,{KITE},five,1588687728000,\nAGK,{KITE},5.0,1588687728,\n")
    write(source / "Beauty.valid.csv", f"{head}AGK,{BALL},3.0,1588687729000,{KITE} {KITE}\n")
    write(source / "Beauty.test.csv", f"{head}AGK,{BALL},,1588687730000,{KITE} {KITE}\n")
    _, interactions, report = imported(READER, source, monkeypatch, max_bad=0.2)
    assert len(interactions) == 19
    assert {(row["timestamp"], row["rating"]) for row in interactions if row["item_id"] == BALL} == {
        (1588687729.0, 3.0),
        (1588687730.0, None),
    }
    assert quarantined(source) == [
        ("Beauty.train.csv", 19, "a rating that is no number"),
        ("Beauty.train.csv", 20, "a timestamp that is not in milliseconds"),
    ]
    assert report.events == 19


def test_of_one_category_only_the_fullest_file_is_read_and_the_others_are_told(tmp_path, monkeypatch):
    source = tmp_path / "toys"
    write_2014(source)
    write_json(source / "reviews_Toys_5.json.gz", [review_2014(ANN, KITE, 5.0, 1)])
    write_json(source / "reviews_Toys.json.gz", [review_2014(ANN, KITE, 5.0, 1), review_2014(BOB, KITE, 5.0, 2)])
    write(source / "ratings_Toys.csv", f"{ANN},{KITE},5.0,1\n")
    _, interactions, report = imported(READER, source, monkeypatch)
    assert len(interactions) == 2
    assert report.notes == [
        "left out, as other files hold the same reviews: ratings_Toys.csv, reviews_Toys_5.json; "
        "to take them, give these files alone"
    ]


def test_says_which_file_is_missing_and_refuses_two_releases(tmp_path):
    write_2014(tmp_path / "toys")
    with pytest.raises(DataError, match="without the reviews or ratings"):
        READER.layout(Source(tmp_path / "toys"), ImportConfig())
    write_json(tmp_path / "gift" / "Gift.json", [review_2014(ANN, KITE, 5.0, 1)])
    with pytest.raises(DataError, match="without meta_CATEGORY"):
        READER.layout(Source(tmp_path / "gift"), ImportConfig())
    LAYOUTS["amazon_2018"](tmp_path / "both")
    LAYOUTS["amazon_2023"](tmp_path / "both")
    with pytest.raises(DataError, match="files of 2023 and of an earlier release"):
        READER.layout(Source(tmp_path / "both"), ImportConfig())


def test_splits_put_the_events_of_a_user_together_whatever_file_they_are_in(tmp_path, monkeypatch):
    source = tmp_path / "tools"
    products = {str(n): {"title": f"T{n}", "description": "", "brand": "", "categories": ""} for n in range(6)}
    first, second = (
        "Made of steel &amp; brass, for rooms of any size and any wall.",
        "Two years of warranty on all but batteries.",
    )
    products["1"]["description"] = repr([first, second + " Call us for more."])
    write(source / "Tools.item.json.gz", json.dumps(products, indent=2))
    head = "user_id,history_item_title,item_title,history_item_id,item_id,history_item_sid,item_sid\n"
    write(
        source / "train" / "Tools.csv",
        f"{head}A1,['T0'],T1,[0],1,['<a>'],<a>\nA2,\"['x', 'y']\",T2,\"[1, 1]\",2,[],<a>\n",
    )
    write(source / "test" / "Tools.csv", f'{head}A1,"[""T1""]",T3,"[1, 2, 4]",3,[],<a>\nA1,[],T5,"[4, 3]",5,[],<b>\n')
    write(source / "info" / "Tools.csv", "a,b\n1,2\n")
    items, interactions, report = imported(amazon18_splits.READER, source, monkeypatch)
    assert [item["item_id"] for item in items] == list("012345")
    assert items[1] == {
        "item_id": "1",
        "title": "T1",
        "brand": None,
        "categories": None,
        "description": f"{first} {second} Call us for more.".replace("&amp;", "&"),
    }
    events = {"A1": "012435", "A2": "112"}
    assert interactions == sorted(
        (
            {"user_id": user, "item_id": item, "position": n}
            for user, seen in events.items()
            for n, item in enumerate(seen)
        ),
        key=lambda row: (row["user_id"] == "A1" and row["position"] > 1, row["user_id"], row["position"]),
    )
    assert report.notes == ["no valid file: events that only those have are not there"]


def test_the_shared_splits_hold_the_sequences_they_are_known_to_hold(tmp_path, monkeypatch, shared):
    known = shared / "data" / "amazon18_industrial"
    if not (known / "raw").is_dir():
        pytest.skip("no amazon18_industrial beside the checkout")
    source = tmp_path / "raw"
    source.symlink_to(known / "raw")
    items, interactions, report = imported(amazon18_splits.READER, source, monkeypatch)
    assert (report.users, report.events, report.items, report.bad) == (1987, 13803, 3686, 0)
    whole = pl.read_parquet(known / "interactions.parquet").sort("user_id", "position")
    sequences = dict(whole.group_by("user_id").agg("item_id").iter_rows())
    found: dict[str, list[str]] = {}
    for row in interactions:
        assert row["position"] == len(found.setdefault(row["user_id"], []))
        found[row["user_id"]].append(row["item_id"])
    assert {user for user, seen in found.items() if sequences[user][-len(seen) :] != seen} == set()
    titles = dict(pl.read_parquet(known / "items.parquet").select("item_id", "title").iter_rows())
    same = sum(item["title"] == titles[item["item_id"]] for item in items)
    assert same > 0.95 * len(items)
