"""Imports from start to end: small files in the layout of a format, and the two tables that come of them."""

import json
from pathlib import Path

import polars as pl

from trsr.config import ImportConfig, parse_settings
from trsr.data.importing import import_dataset
from trsr.data.importing.importer import ImportReport
from trsr.data.importing.reader import readers
from trsr.data.importing.source import Source

MOVIELENS = {
    "movies.csv": "movieId,title,genres\n1,Toy Story (1995),Comedy\n",
    "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n",
}
RECBOLE = {
    "shop.item": "item_id:token\ttitle:token_seq\n1\tA ruler\n",
    "shop.inter": "user_id:token\titem_id:token\ttimestamp:float\n1\t1\t964982703\n",
}
MIND = {"news.tsv": "N1\tnews\tnewsus\tTitle\tAbstract\turl\t[]\t[]\n", "behaviors.tsv": "1\tU1\t\tN1\tN1-1\n"}


def write(folder: Path, files: dict[str, str], encoding: str = "utf-8") -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
    return folder


def dataset_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"item_id": ["1"], "title": ["A ruler"]}).write_parquet(folder / "items.parquet")
    events = pl.DataFrame({"user_id": ["1"], "item_id": ["1"], "timestamp": [964982703]})
    events.write_parquet(folder / "interactions.parquet")
    return folder


def saved_to_disk(folder: Path, *shards: pl.DataFrame) -> Path:
    """What `save_to_disk` of the `datasets` library leaves of one split."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{number:05}-of-{len(shards):05}.arrow" for number in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        shard.write_ipc_stream(folder / name, compat_level=pl.CompatLevel.oldest())
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def one_of_each(folder: Path) -> dict[str, Path]:
    """A source of every format that says by its files what it is, by the name of the reader."""
    shards = folder / "huggingface"
    saved_to_disk(shards / "items", pl.DataFrame({"item_id": ["1"], "title": ["A ruler"]}))
    events = pl.DataFrame({"user_id": ["1"], "item_id": ["1"], "timestamp": [964982703]})
    saved_to_disk(shards / "events", events)
    return {
        "movielens": write(folder / "movielens", MOVIELENS),
        "recbole": write(folder / "recbole", RECBOLE),
        "mind": write(folder / "mind", MIND),
        "trsr": dataset_folder(folder / "trsr"),
        "huggingface": shards,
        "": write(folder / "other", {"items.csv": "id,title\n1,A\n", "notes.json": "{}\n"}),
    }


def recognised(name: str, folder: Path) -> set[str]:
    """Which of the sources of `one_of_each` the reader of this name takes for its own."""
    reader = readers()[name]
    return {kind for kind, source in one_of_each(folder).items() if reader.recognise(Source(source))}


def imported(
    name: str, source: Path, folder: Path, **settings: object
) -> tuple[pl.DataFrame, pl.DataFrame, ImportReport]:
    """Items, interactions and the report; up to half of the rows may be bad."""
    config = parse_settings(ImportConfig, {"max_bad": 0.5, **settings}, "test")
    report = import_dataset(name, source, folder / "made", config)
    made = folder / "made"
    return pl.read_parquet(made / "items.parquet"), pl.read_parquet(made / "interactions.parquet"), report


def quarantined(folder: Path) -> list[tuple[str, int, str]]:
    """File, line and reason of all bad rows, sorted."""
    lines = (folder / "made" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted((row["file"], row["line"], row["reason"]) for row in map(json.loads, lines))
