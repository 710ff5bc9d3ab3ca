"""`trsr bench import` as a user types it, on tiny look-alikes: what is counted, not how fast."""

import json

import polars as pl
import pytest

from trsr.benchmarks.lookalikes.amazon_m2 import PRODUCTS, SESSIONS
from trsr.benchmarks.processes import in_own_process
from trsr.errors import DataError

KEYS = ["dataset", "step", "rows", "seconds", "plain_seconds", "peak_mb"]
SMALL = ("bench", "import", "--scale", "0.0005", "--rounds", "1")


def fill(megabytes):
    return len(bytearray(b"x") * (megabytes * 1_000_000))


def refuse():
    raise DataError("no rows")


def rows_of(sizes, least):
    return sum(max(round(size * 0.0005), least) for size in sizes.values())


def test_every_step_is_a_row_and_an_import_is_used_again(trsr, tiny_model, tmp_path):
    outcome = trsr(*SMALL, "--step", "import", "--folder", tmp_path, "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)
    assert [list(row) for row in rows] == [KEYS] * 2
    sessions, products = rows_of(SESSIONS, 10), rows_of(PRODUCTS, 20)
    assert [(row["dataset"], row["step"], row["rows"]) for row in rows] == [
        ("mind", "import", 600 + 1116),
        ("m2", "import", sessions + products),
    ]
    assert all(row["seconds"] > 0 and row["plain_seconds"] > 0 and row["peak_mb"] > 50 for row in rows)

    imported = tmp_path / "m2-imported" / "interactions.parquet"
    written = imported.stat().st_mtime_ns
    steps = ("open", "read", "sample", "render")
    options = [option for step in steps for option in ("--step", step)]
    again = trsr(*SMALL, "--dataset", "m2", *options, "--model", tiny_model, "--folder", tmp_path)
    assert again.code == 0, again.err
    assert imported.stat().st_mtime_ns == written
    lines = again.out.splitlines()
    assert lines[0].startswith("import of look-alikes, scale 0.0005: ")
    events = pl.read_parquet(imported).height
    assert [line.split()[:3] for line in lines if " m2 " in line] == [
        ["m2", "open", f"{events:,}"],
        ["m2", "read", f"{events:,}"],
        ["m2", "sample", f"{sessions:,}"],
        ["m2", "render", f"{products:,}"],
        ["m2", "render-english", f"{round(PRODUCTS['UK'] * 0.0005):,}"],
    ]


def test_wrong_options_are_one_sentence(trsr, tmp_path):
    for arguments, said in (
        (("--dataset", "netflix"), "--dataset: no dataset 'netflix'; take mind, m2"),
        (("--step", "fly"), "--step: no step 'fly'; take import, open, read, sample, render"),
    ):
        outcome = trsr(*SMALL, *arguments)
        assert outcome.code == 2
        assert outcome.complaint == said
    (tmp_path / "mind").mkdir()
    (tmp_path / "mind.json").write_text('{"dataset": "mind", "scale": 0.5, "seed": 7, "rows": 9}', encoding="utf-8")
    outcome = trsr(*SMALL, "--folder", tmp_path)
    assert outcome.complaint == (
        f"--folder {tmp_path}: holds a look-alike of mind at scale 0.5, not 0.0005; give another folder or that scale"
    )
    (tmp_path / "mind.json").unlink()
    outcome = trsr(*SMALL, "--folder", tmp_path)
    assert outcome.complaint.endswith("mind is there and not of this benchmark; give another folder")


def test_peak_memory_is_that_of_the_process_alone():
    ballast = bytearray(b"x") * 400_000_000  # held here, so not by the processes measured
    small, large = in_own_process(fill, 1), in_own_process(fill, 200)
    assert len(ballast) == 400_000_000
    assert (small.value, large.value) == (1_000_000, 200_000_000)
    assert small.peak_mb < 300
    assert 190 < large.peak_mb - small.peak_mb < 260


def test_errors_of_a_process_are_raised_here():
    with pytest.raises(DataError, match="no rows"):
        in_own_process(refuse)
