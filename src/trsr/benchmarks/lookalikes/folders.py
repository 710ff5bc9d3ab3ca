"""Look-alikes on the disk: made once, and found again in a folder that is kept."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from trsr.benchmarks.lookalikes.amazon_m2 import write_amazon_m2
from trsr.benchmarks.lookalikes.mind import write_mind
from trsr.benchmarks.plain_reading import TextTable
from trsr.errors import ConfigError
from trsr.files import whole_folder, write_text
from trsr.progress import stage


@dataclass(frozen=True)
class Original:
    """A public data set that can be imitated: its format as an import knows it, its writer and its tables.

    `english` is what ids of items in English end in where there are others, "" where there are none.
    """

    format: str
    write: Callable[[Path, float, int], int]
    tables: tuple[TextTable, ...]
    english: str = ""


ORIGINALS = {
    "mind": Original(
        "mind",
        write_mind,
        tuple(TextTable(name, "\t", has_header=False, quoted=False) for name in ("news.tsv", "behaviors.tsv")),
    ),
    "m2": Original(
        "amazon-m2",
        write_amazon_m2,
        tuple(
            TextTable(name, ",", has_header=True, quoted=True) for name in ("products_train.csv", "sessions_train.csv")
        ),
        "-UK",
    ),
}


@dataclass(frozen=True)
class Lookalike:
    """What was made: of which original, at which scale and seed, and how many rows its tables have together."""

    dataset: str
    scale: float
    seed: int
    rows: int


def lookalike_in(folder: Path, dataset: str, scale: float, seed: int) -> tuple[Path, Lookalike]:
    """The folder of a look-alike below `folder` and what is in it; made where it is not there yet.

    Raises `ConfigError` where another one is there.
    """
    place, note = folder / dataset, folder / f"{dataset}.json"
    if place.is_dir() and note.is_file():
        found = Lookalike(**json.loads(note.read_text(encoding="utf-8")))
        if (found.scale, found.seed) != (scale, seed):
            raise ConfigError(
                f"--folder {folder}: holds a look-alike of {dataset} at scale {found.scale:g}, not {scale:g}; "
                "give another folder or that scale"
            )
        return place, found
    if place.exists():
        raise ConfigError(f"--folder {folder}: {place.name} is there and not of this benchmark; give another folder")
    with stage(f"look-alike of {dataset}") as progress, whole_folder(place) as work:
        made = Lookalike(dataset, scale, seed, ORIGINALS[dataset].write(work, scale, seed))
        progress.update(made.rows)
    write_text(note, json.dumps(asdict(made)) + "\n")
    return place, made
