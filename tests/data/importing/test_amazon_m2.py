"""Amazon-M2 as it is published: sessions in order, items apart by locale, prices that are none left empty."""

import json

import polars as pl
import pytest
from whole_imports import imported, quarantined, recognised, write

from trsr.config import DataConfig
from trsr.data.dataset import Dataset
from trsr.errors import DataError

HEADER = "id,locale,title,price,brand,color,size,model,material,author,desc\n"
PRODUCTS = HEADER + (
    'A1,UK,"Lamp, ""big""",12.5,Acme,red,,,,,"Two\nlines"\n'
    "A1,DE,Lampe,40000000.07,,,,,,,\nA2,UK,Rope,,Knot,,,,,,\nB3,UK,Hose,3,,,,,,,<b>x</b>\nA2,DE,Seil,nan,,,,,,,\n"
)
SESSIONS = "prev_items,next_item,locale\n" + (
    "\"['A1' 'A2'\n 'A1']\",B3,UK\n['A2'],A1,DE\n[],A2,UK\n\"['A1', 'B3']\",,UK\n['A9'],A1,UK\n"
)
EVENTS = [
    ("train-00000002", ["A1-UK", "A2-UK", "A1-UK", "B3-UK"]),
    ("train-00000004", ["A2-DE", "A1-DE"]),
    ("train-00000005", ["A2-UK"]),
    ("train-00000006", ["A1-UK", "B3-UK"]),
    ("train-00000007", ["A1-UK"]),
]


def put(folder, sessions=SESSIONS, products=PRODUCTS):
    return write(folder, {"products_train.csv": products, "sessions_train.csv": sessions})


def histories(folder) -> dict[str, list[str]]:
    return dict(Dataset.from_folder(folder / "made", DataConfig(path=folder), 7).histories())


def test_all_locales(tmp_path):
    items, events, report = imported("auto", put(tmp_path / "raw"), tmp_path)
    assert items.columns == [
        "item_id",
        "title",
        "brand",
        "price",
        "color",
        "size",
        "model",
        "material",
        "author",
        "desc",
    ]
    assert items.select("item_id", "title", "brand", "price", "color", "desc").rows() == [
        ("A1-UK", 'Lamp, "big"', "Acme", 12.5, "red", "Two lines"),
        ("A1-DE", "Lampe", None, None, None, None),
        ("A2-UK", "Rope", "Knot", None, None, None),
        ("B3-UK", "Hose", None, 3.0, None, "x"),
        ("A2-DE", "Seil", None, None, None, None),
    ]
    assert report.removed == {"of unknown items": 1}
    assert report.bad == 0
    positions = [("sessions_" + user, item) for user, of_user in EVENTS for item in of_user]
    assert events.select("user_id", "item_id").rows() == positions
    assert events["position"].to_list() == [0, 1, 2, 3, 0, 1, 0, 0, 1, 1]  # the last behind an item that is not known
    assert histories(tmp_path) == {"sessions_" + user: of_user for user, of_user in EVENTS}


def test_one_locale_needs_no_mark(tmp_path):
    items, events, _ = imported("amazon-m2", put(tmp_path / "raw"), tmp_path, locale="DE")
    assert items.select("item_id", "title").rows() == [("A1", "Lampe"), ("A2", "Seil")]
    assert events.rows() == [("sessions_train-00000004", "A2", 0), ("sessions_train-00000004", "A1", 1)]
    with pytest.raises(DataError, match="no item that can be read"):
        imported("amazon-m2", tmp_path / "raw", tmp_path / "fr", locale="FR")


def test_in_small_blocks_sessions_keep_their_lines(tmp_path, monkeypatch):
    from memory_files import shrink_blocks

    shrink_blocks(monkeypatch, 10)
    imported("amazon-m2", put(tmp_path / "raw"), tmp_path)
    assert histories(tmp_path) == {"sessions_" + user: of_user for user, of_user in EVENTS}


def test_bad_rows_are_named(tmp_path):
    sessions = SESSIONS + "A1 A2,A1,UK\n,A1,UK\n['A1'],A2,\n['A1' 'A 2'],A1,UK\n"
    products = (
        PRODUCTS + ",UK,No id,1,,,,,,,\nA7,,No locale,1,,,,,,,\nA8,UK,Odd price,cheap,,,,,,,\nA1,UK,Other,1,,,,,,,\n"
    )
    imported("amazon-m2", put(tmp_path / "raw", sessions, products), tmp_path, max_bad=0.5)
    assert quarantined(tmp_path) == [
        ("products_train.csv", 8, "no id of the product"),
        ("products_train.csv", 9, "no locale"),
        ("products_train.csv", 10, "a price that is no number"),
        ("products_train.csv", 11, "item A1-UK is described otherwise further up"),
        ("sessions_train.csv", 8, "prev_items that are no list"),
        ("sessions_train.csv", 9, "no prev_items"),
        ("sessions_train.csv", 10, "no locale"),
        ("sessions_train.csv", 11, "prev_items that are no list"),
    ]
    lines = map(json.loads, (tmp_path / "made" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines())
    told = {(row["file"], row["line"]): row["content"] for row in lines}
    assert told["products_train.csv", 10].startswith(
        '{"id": "A8", "locale": "UK", "title": "Odd price", "brand": null, "price": "ch'
    )
    assert told["products_train.csv", 11].startswith(
        '{"id": "A1", "locale": "UK", "title": "Other", "brand": null, "price": "1"'
    )
    assert told["sessions_train.csv", 9] == '{"prev_items": null, "next_item": "A1", "locale": "UK"}'


@pytest.mark.parametrize("kind", [pl.List(pl.String), pl.Array(pl.String, 2)])
def test_parquet(tmp_path, kind):
    source = tmp_path / "raw"
    source.mkdir()
    lists = pl.Series("prev_items", [["A1", "A2"], ["B3", "A1"]], dtype=kind)
    frame = pl.DataFrame([lists, pl.Series("locale", ["UK", "UK"])])
    frame.write_parquet(source / "sessions.parquet")
    write(source, {"products_train.csv": PRODUCTS})
    imported("auto", source, tmp_path)
    assert histories(tmp_path) == {
        "sessions-00000001": ["A1-UK", "A2-UK"],
        "sessions-00000002": ["B3-UK", "A1-UK"],
    }


def test_sessions_of_two_files_of_one_name_stay_apart(tmp_path):
    files = {
        "products.csv": PRODUCTS,
        "UK/sessions.csv": "prev_items,locale\n['A1' 'A2'],UK\n",
        "DE/sessions.csv": "prev_items,locale\n['A2' 'A1'],DE\n",
    }
    imported("auto", write(tmp_path / "raw", files), tmp_path)
    assert histories(tmp_path) == {
        "DE/sessions.csv-00000002": ["A2-DE", "A1-DE"],
        "UK/sessions.csv-00000002": ["A1-UK", "A2-UK"],
    }


def test_recognises_its_own_layout_and_no_other(tmp_path):
    assert recognised("amazon-m2", tmp_path) == set()
    source = write(tmp_path / "raw", {"sessions_train.csv": SESSIONS})
    with pytest.raises(DataError, match=r"Amazon-M2 has sessions_\*.csv and products_\*.csv"):
        imported("amazon-m2", source, tmp_path)


def test_the_true_sessions(shared, tmp_path):
    raw = shared / "data" / "amazon_m2_sample" / "raw" / "sessions.parquet"
    if not raw.is_file():
        pytest.skip("no sample of Amazon-M2 in shared/data")
    sessions = pl.read_parquet(raw)
    lists = sessions["prev_items"].to_list()
    ids = sorted({item for session in lists for item in session})
    products = HEADER + "".join(f"{item},UK,Product {item},1,,,,,,,\n" for item in ids)
    for name, way in (("parquet", _as_parquet), ("csv", _as_numpy_prints)):
        source = write(tmp_path / name / "raw", {"products_test.csv": products})
        way(sessions, source)
        _, events, report = imported("auto", source, tmp_path / name, locale="UK")
        assert report.bad == 0
        grouped = events.group_by("user_id", maintain_order=True).agg("item_id", "position")
        assert grouped["item_id"].to_list() == lists
        assert grouped["position"].to_list() == [list(range(len(session))) for session in lists]


def _as_parquet(sessions: pl.DataFrame, folder) -> None:
    sessions.write_parquet(folder / "sessions_test.parquet")


def _as_numpy_prints(sessions: pl.DataFrame, folder) -> None:
    import numpy as np

    printed = [str(np.array(session)) for session in sessions["prev_items"].to_list()]
    sessions.with_columns(pl.Series("prev_items", printed)).write_csv(folder / "sessions_test.csv")
