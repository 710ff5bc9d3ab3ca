"""Data sets of the `datasets` library: a user would otherwise have to install it to write two files."""

import json

import polars as pl
import pytest
from whole_imports import imported, quarantined, recognised, saved_to_disk

from trsr.data.importing import arrow
from trsr.data.importing.source import Source
from trsr.errors import DataError

ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b"],
        "title": ["One", "Zwei ü"],
        "tags": [["x", "y"], None],
        "price": [1.5, None],
        "parts": [[{"k": 1}], []],
        "kind": pl.Series(["book", "film"], dtype=pl.Categorical),
    }
)


def events(*rows):
    return pl.DataFrame(list(rows), schema=["user_id", "item_id", "timestamp", "rating"], orient="row")


def save(folder, *shards):
    saved_to_disk(folder / "items", ITEMS)
    (folder / "events").mkdir()
    (folder / "events" / "dataset_dict.json").write_text('{"splits": ["test", "train"]}')
    saved_to_disk(folder / "events" / "train", *shards)
    saved_to_disk(folder / "events" / "test", events(("u", "b", 9, 1.0)))
    return folder


def test_items_and_interactions_are_told_apart_by_their_columns(tmp_path):
    source = save(tmp_path / "raw", events(("u", "a", 5, 4.0)), events(("v", "a", 6, None), (None, "a", 7, 1.0)))
    events(("u", "a", 1, 1.0)).write_ipc_stream(source / "events" / "train" / "cache-0123.arrow")
    saved_to_disk(source / "notes", pl.DataFrame({"text": ["x"]}))
    items, interactions, report = imported("auto", source, tmp_path)
    assert report.format == "huggingface"
    assert items.to_dicts() == [
        {"item_id": "a", "title": "One", "tags": ["x", "y"], "price": 1.5, "kind": "book"},
        {"item_id": "b", "title": "Zwei ü", "tags": None, "price": None, "kind": "film"},
    ]
    assert interactions.rows() == [("u", "b", 9, 1.0), ("u", "a", 5, 4.0), ("v", "a", 6, None)]
    assert quarantined(tmp_path) == [("events/train/data-00001-of-00002.arrow", 2, "no user")]
    assert report.notes == [
        "left out, as no text can be made of them: 'parts'",
        "notes/data-00000-of-00001.arrow: not read (columns: text)",
    ]


def test_columns_of_other_names_are_mapped(tmp_path):
    source = tmp_path / "raw"
    saved_to_disk(source / "meta" / "full", ITEMS.rename({"item_id": "asin"}))
    for split in ("train", "test"):
        rows = pl.DataFrame({"who": ["u"], "asin": ["a"], "when": [1_700_000_000_500]})
        saved_to_disk(source / "reviews" / split, rows)
    tables = {
        "items": {"file": "meta", "columns": {"item": "asin", "attributes": {"name": "title", "labels": "tags"}}},
        "interactions": {
            "file": "reviews/train",
            "columns": {"user": "who", "item": "asin", "time": "when", "time_unit": "ms"},
        },
    }
    items, interactions, _ = imported("huggingface", source, tmp_path, tables=tables)
    assert items.rows() == [("a", "One", ["x", "y"]), ("b", "Zwei ü", None)]
    assert interactions.rows() == [("u", "a", 1_700_000_000.5)]


def test_folders_of_parquet_shards(tmp_path):
    data = tmp_path / "raw" / "data"
    data.mkdir(parents=True)
    ITEMS.write_parquet(data / "items-00000-of-00001.parquet")
    events(("u", "a", 5, 4.0)).write_parquet(data / "train-00000-of-00002.parquet")
    events(("u", "b", 6, 4.0)).write_parquet(data / "train-00001-of-00002.parquet")
    _, interactions, report = imported("auto", tmp_path / "raw", tmp_path)
    assert report.format == "huggingface"
    assert interactions.rows() == [("u", "a", 5, 4.0), ("u", "b", 6, 4.0)]


def test_a_stream_of_many_batches_is_read_in_parts(tmp_path, monkeypatch):
    """The library writes batch by batch; a file is the same however few of them are read at once."""
    monkeypatch.setattr(arrow, "_ENOUGH", 5000)
    rows = [events(*((f"u{n}", "a", n, 1.0) for n in range(start, start + 50))) for start in range(0, 1000, 50)]
    source = save(tmp_path / "raw", *rows)
    folder = source / "events" / "train"
    schema, batches = _messages(folder, 0)[0], [_messages(folder, number)[1] for number in range(20)]
    (folder / "data-00000-of-00020.arrow").write_bytes(b"".join([schema, *batches]))
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00020.arrow"}]}')
    parts = list(arrow._parts(_file(folder, 0)))
    assert 2 < len(parts) < 20
    assert all(part.startswith(schema) for part in parts)
    _, interactions, _ = imported("huggingface", source, tmp_path)
    assert interactions[1:].equals(pl.concat(rows))


def _file(folder, number):
    return Source(folder).matching(f"data-{number:05}-*.arrow")[0]


def _messages(folder, number):
    file = _file(folder, number)
    with file.open() as stream:
        return [message for _, message in arrow._messages(stream, file)]


@pytest.mark.parametrize("keep", [3, 20, 300, -40])
def test_a_truncated_file_is_refused(tmp_path, keep):
    source = save(tmp_path / "raw", events(*((f"u{n}", "a", n, 1.0) for n in range(100))))
    path = source / "events" / "train" / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"data-00000-of-00001\.arrow: the Arrow stream is truncated or damaged"):
        imported("huggingface", source, tmp_path)


def test_folders_that_are_not_whole_are_refused(tmp_path):
    source = save(tmp_path / "raw", events(("u", "a", 5, 4.0)))
    state = source / "items" / "state.json"
    content = json.loads(state.read_text())
    state.write_text(json.dumps({**content, "_indices_data_files": [{"filename": "indices.arrow"}]}))
    with pytest.raises(DataError, match="flatten_indices"):
        imported("huggingface", source, tmp_path)
    state.write_text("{}")
    with pytest.raises(DataError, match="_data_files"):
        imported("huggingface", source, tmp_path)
    state.write_text(json.dumps(content))
    (source / "items" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(DataError, match=r"data-00000-of-00001\.arrow is not there"):
        imported("huggingface", source, tmp_path)


def test_one_table_alone_says_what_it_has(tmp_path):
    saved_to_disk(tmp_path / "raw", events(("u", "a", 5, 4.0)))
    with pytest.raises(DataError, match=r"0 files of items and 1 of interactions.*user_id, item_id, timestamp"):
        imported("huggingface", tmp_path / "raw", tmp_path)


def test_its_own_layout_is_recognised_and_no_other(tmp_path):
    assert recognised("huggingface", tmp_path) == {"huggingface"}
