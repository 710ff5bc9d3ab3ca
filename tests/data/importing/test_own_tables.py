"""Tables of one's own: a user would otherwise write a script, and find out later that a column of times was misread."""

import gzip
import json
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from whole_imports import imported, quarantined, recognised, write

from trsr.config import TablesConfig, parse_settings
from trsr.data.importing.moments import seconds
from trsr.errors import ConfigError, DataError

ITEMS = {"file": "items.csv", "columns": {"item": "sku"}}
EVENTS = {"file": "events.csv", "columns": {"user": "who", "item": "sku", "time": "at"}}


def tables(items=None, events=None, columns=None):
    events = {**EVENTS, **(events or {})}
    return {
        "items": {**ITEMS, **(items or {})},
        "interactions": {**events, "columns": {**events["columns"], **(columns or {})}},
    }


def csv_source(folder, at="5", items="sku,title\n1,A ruler\n"):
    return write(folder / "raw", {"items.csv": items, "events.csv": f'who,sku,at\nu,1,"{at}"\n'})


def test_attributes_are_named_and_picked(tmp_path):
    files = {
        "items.csv": 'sku;Name;"Long; text";stock\n1;"A ""steel"" ruler";"Two\nlines; and more";5\n'
        "2;;;\n ;Nameless;;\n",
        "events.csv": "who,sku,at,stars,row\nu,1,5,4.5,1\nu,2,6,,2\nu,2,x,1,3\nu,2,7,x,4\nu,2,,1,5\nu,1,8,1,1.5\n",
    }
    items = {"columns": {"item": "sku", "attributes": {"title": "Name", "text": "Long; text"}}}
    settings = tables(items, None, {"rating": "stars", "position": "row"})
    items, events, _ = imported("table", write(tmp_path / "raw", files), tmp_path, tables=settings)
    assert items.to_dicts() == [
        {"item_id": "1", "title": 'A "steel" ruler', "text": "Two lines; and more"},
        {"item_id": "2", "title": None, "text": None},
    ]
    assert events.to_dicts() == [
        {"user_id": "u", "item_id": "1", "timestamp": 5, "position": 1, "rating": 4.5},
        {"user_id": "u", "item_id": "2", "timestamp": 6, "position": 2, "rating": None},
        {"user_id": "u", "item_id": "2", "timestamp": None, "position": 5, "rating": 1.0},
    ]
    assert quarantined(tmp_path) == [
        ("events.csv", 4, "a time that cannot be read"),
        ("events.csv", 5, "a rating that is no number"),
        ("events.csv", 7, "a position that is no whole number"),
        ("items.csv", 5, "no item"),
    ]


@pytest.mark.parametrize(
    ("at", "how", "expected"),
    [
        ("1700000000", {}, 1700000000),
        ("1700000000.25", {}, 1700000000.25),
        ("1700000000123", {"time_unit": "ms"}, 1700000000.123),
        ("1700000000000000", {"time_unit": "us"}, 1700000000),
        ("1970-01-02", {}, 86400),
        ("1970-01-02T00:00:01Z", {}, 86401),
        ("1970-01-02 00:00", {}, 86400),
        ("1970-01-02T02:00:00.5+02:00", {}, 86400.5),
        ("1970-01-01 23:30:00 -0130", {}, 90000),
        ("1969-12-31", {}, -86400),
        ("02.01.1970", {"time_format": "%d.%m.%Y"}, 86400),
        ("19700102", {"time_format": "%Y%m%d"}, 86400),
        ("01/02/1970 01:00:00 PM", {"time_format": "%m/%d/%Y %I:%M:%S %p"}, 133200),
        ("1970-01-02 02:00 +0200", {"time_format": "%Y-%m-%d %H:%M %z"}, 86400),
    ],
)
def test_times_are_read_as_they_are_written(tmp_path, at, how, expected):
    _, events, _ = imported("table", csv_source(tmp_path, at), tmp_path, tables=tables(columns=how))
    assert events["timestamp"].to_list() == [expected]
    assert events.schema["timestamp"] == (pl.Int64 if isinstance(expected, int) else pl.Float64)


def test_the_same_times_as_python_reads(tmp_path):
    zones = (UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=9, minutes=30)))
    moments = [
        datetime(year, 2, 28, 23, 59, 59, micro, zone)
        for year in (1000, 1969, 1970, 2000, 2024, 9998)
        for zone in zones
        for micro in (0, 250_000)
    ]
    read = pl.DataFrame({"at": [moment.isoformat() for moment in moments]}).select(seconds("at", pl.String()))
    assert read["at"].to_list() == [moment.timestamp() for moment in moments]


@pytest.mark.parametrize("at", ["yesterday", "2024-13-01", "2024-02-30", "2024-01-01T25:00", "inf", "nan", "1/2/1970"])
def test_what_is_no_time_is_bad(tmp_path, at):
    with pytest.raises(DataError, match=r"events\.csv: 1 of 1 rows are bad.*a time that cannot be read"):
        imported("table", csv_source(tmp_path, at), tmp_path, tables=tables())


def test_milliseconds_taken_for_seconds_are_refused_with_the_remedy(tmp_path):
    with pytest.raises(DataError, match=r"beyond the year 9999; where it is in milliseconds, set time_unit: ms"):
        imported("table", csv_source(tmp_path, "1700000000123"), tmp_path, tables=tables())


@pytest.mark.parametrize(
    ("name", "text", "how", "title"),
    [
        ("items.tsv", "sku\ttitle, in English, or; none\n1\tA, b; c|d\n", {}, "A, b; c|d"),
        ("items.csv", "sku|title\n1|A, b; c\n", {}, "A, b; c"),
        ("items.csv", 'sku;"a, b, c, d"\n1;A\n', {}, "A"),
        ("items.txt", "sku~title\n1~A\n", {"separator": "~"}, "A"),
        ("items.csv", 'sku,title\n1,5" nail\n', {"quoted": False}, '5" nail'),
    ],
)
def test_separators_are_guessed_or_given(tmp_path, name, text, how, title):
    source = csv_source(tmp_path)
    write(source, {name: text})
    items, _, _ = imported("table", source, tmp_path, tables=tables({"file": name, **how}))
    assert items.rows() == [("1", title)]


def test_encodings(tmp_path):
    source = write(csv_source(tmp_path), {"items.csv": "sku,title\n1,Käse\n"}, "cp1252")
    items, _, _ = imported("table", source, tmp_path, tables=tables({"encoding": "windows-1252"}))
    assert items.rows() == [("1", "Käse")]
    (source / "items.csv").write_bytes("\ufeffsku,title\n1,Käse\n".encode())
    items, _, _ = imported("table", source, tmp_path / "bom", tables=tables())
    assert items.rows() == [("1", "Käse")]


def test_json_lines_keep_lists_and_parquet_its_types(tmp_path):
    source = csv_source(tmp_path)
    records = [
        {"sku": 1, "title": "A", "tags": ["x", "y"], "price": 2.5, "made": {"in": "x"}},
        {"sku": "2", "title": None, "tags": "z"},
        {"title": "no id"},
    ]
    (source / "items.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode()))
    events = pl.DataFrame({"who": [7.0, 8.0], "sku": [1, 2], "at": [1, 2]}, schema_overrides={"at": pl.Datetime("ms")})
    events.write_parquet(source / "events.parquet")
    settings = tables({"file": "items.jsonl"}, {"file": "events.parquet"})
    items, interactions, report = imported("table", source, tmp_path, tables=settings)
    assert items.to_dicts() == [
        {"item_id": "1", "title": "A", "tags": ["x", "y"], "price": "2.5"},
        {"item_id": "2", "title": None, "tags": ["z"], "price": None},
    ]
    assert interactions.rows() == [("7", "1", 0.001), ("8", "2", 0.002)]
    assert quarantined(tmp_path) == [("items.jsonl", 3, "no item")]
    assert report.notes == ["left out, as no text can be made of them: 'made'"]


def test_one_log_may_hold_both_and_lie_in_several_files(tmp_path):
    head = "who,sku,at,title\n"
    files = {"logs/log-1.csv": f"{head}u,1,5,A\nv,1,6,A\n", "logs/log-2.csv": f"{head}u,2,7,B\n", "logs/about.md": "x"}
    settings = {
        "items": {"file": "log-*.csv", "columns": {"item": "sku", "attributes": {"title": "title"}}},
        "interactions": {"file": "logs", "columns": EVENTS["columns"]},
    }
    items, events, report = imported("table", write(tmp_path / "raw", files), tmp_path, tables=settings)
    assert items.rows() == [("1", "A"), ("2", "B")]
    assert events.rows() == [("u", "1", 5), ("v", "1", 6), ("u", "2", 7)]
    assert report.item_copies == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (tables({"file": "goods.csv"}), r"no file goods\.csv there \(events\.csv, items\.csv\)"),
        (tables({"columns": {"item": "id"}}), r"items\.csv: column id is missing \(columns: sku, title\)"),
        (tables(columns={"rating": "stars"}), r"events\.csv: column stars is missing"),
        (tables({"columns": {"item": "sku", "attributes": {"name": "Name"}}}), "column Name is missing"),
    ],
)
def test_maps_that_do_not_fit_are_refused(tmp_path, settings, message):
    with pytest.raises(DataError, match=message):
        imported("table", csv_source(tmp_path), tmp_path, tables=settings)


def test_files_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match="two columns are named 'title'"):
        imported("table", csv_source(tmp_path / "a", items="sku,title,title\n1,A,B\n"), tmp_path, tables=tables())
    with pytest.raises(DataError, match="no column beside sku"):
        imported("table", csv_source(tmp_path / "b", items="sku\n1\n"), tmp_path, tables=tables())
    source = csv_source(tmp_path / "c")
    write(source, {"more-1.csv": "sku,title\n1,A\n", "more-2.csv": "sku,name\n2,B\n"})
    with pytest.raises(DataError, match=r"more-2\.csv: other columns"):
        imported("table", source, tmp_path, tables=tables({"file": "more-*.csv"}))
    pl.DataFrame({"sku": [[1]], "title": ["A"]}).write_parquet(source / "lists.parquet")
    with pytest.raises(DataError, match=r"column sku holds List.*ids are text or whole numbers"):
        imported("table", source, tmp_path, tables=tables({"file": "lists.parquet"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (tables(columns={"user": None}), "name the column of the user"),
        (tables(columns={"time_unit": "ms", "time_format": "%Y"}), "give one of them"),
        (tables({"encoding": "utf-16"}), "write the file as utf-8"),
        (tables({"encoding": "klingon"}), "klingon is not known"),
        (tables({"separator": "::"}), "separator"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings(TablesConfig, settings, "import.yaml")


def test_maps_of_too_little_are_refused(tmp_path):
    source = csv_source(tmp_path)
    with pytest.raises(ConfigError, match="say under tables"):
        imported("table", source, tmp_path)
    with pytest.raises(ConfigError, match="name the column of the time or of the position"):
        imported("table", source, tmp_path, tables=tables(columns={"time": None}))
    with pytest.raises(ConfigError, match="names no file"):
        imported("table", source, tmp_path, tables=tables({"file": "."}))
    with pytest.raises(DataError, match="no column beside sku"):
        imported("table", source, tmp_path, tables=tables({"columns": {"item": "sku", "attributes": {}}}))


def test_it_is_never_guessed(tmp_path):
    assert recognised("table", tmp_path) == set()


def test_a_time_format_for_a_column_of_numbers_is_refused_and_not_passed_over(tmp_path):
    """20201231 would be a day of 1970."""
    raw = csv_source(tmp_path)
    pl.DataFrame({"who": ["u"], "sku": [1], "at": [20201231]}).write_parquet(raw / "events.parquet")
    settings = tables(None, {"file": "events.parquet"}, {"time_format": "%Y%m%d"})
    with pytest.raises(DataError, match="column at holds Int64, time_format is for text"):
        imported("table", raw, tmp_path, tables=settings)


def test_zeros_and_truth_values_in_lists_of_json_stay(tmp_path):
    raw = csv_source(tmp_path)
    (raw / "items.jsonl").write_text('{"sku": 1, "sizes": [0, 1, 0.0, null, ""], "flags": [[true, false], []]}')
    items, *_ = imported("table", raw, tmp_path, tables=tables({"file": "items.jsonl"}))
    assert items.rows(named=True) == [{"item_id": "1", "sizes": ["0", "1", "0.0"], "flags": ["True", "False"]}]
