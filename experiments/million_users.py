"""Memory and time of planning for many users: a dry run, profiles made by an instant backend, and a rerun.

    python experiments/million_users.py [--users 100000 1000000] [--made 100000 300000]

Each step is a process of its own, so that its peak memory is its own (data too are made in one, for a process inherits
the peak of who starts it); "empty" imports the same and does nothing. Users have 5 to 19 events, stored in no order,
over 20,000 items.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from trsr.benchmarks.backends import Instant
from trsr.config import BookshopConfig, DataConfig, SummaryConfig
from trsr.data.bookshop import make_bookshop
from trsr.data.histories import Histories
from trsr.experiment.machine import describe_machine
from trsr.experiment.profiles import ProfilePlace, estimate_folder
from trsr.llm.chat import ChatFormat
from trsr.llm.weights import load_tokenizer, resolve_weights
from trsr.prompts.templates import TemplateSet
from trsr.summaries.profiles import update_profiles
from trsr.summaries.store import SummaryStore
from trsr.summaries.summarizer import Summarizer

ITEMS = 20_000
SETTINGS = SummaryConfig(item_tokens=32, max_prompt_tokens=640, max_new_tokens=48)


def make_data(folder: Path, users: int) -> None:
    """Books of the bookshop over and over, and events at random."""
    folder.mkdir()
    books = make_bookshop(BookshopConfig(books=5000, readers=50)).items.select("title", "subjects")
    items = pl.concat([books] * (ITEMS // len(books))).with_row_index("item_id")
    items.with_columns(pl.format("b{}", "item_id").alias("item_id")).write_parquet(folder / "items.parquet")
    rng = np.random.default_rng(7)
    of = np.repeat(np.arange(users), rng.integers(5, 20, users))
    rng.shuffle(of)
    events = pl.DataFrame(
        {"user": of, "item": rng.integers(0, ITEMS, of.size), "timestamp": rng.integers(1.6e9, 1.7e9, of.size)}
    )
    events.select(
        pl.format("user-{}", pl.col("user").cast(pl.String).str.zfill(8)).alias("user_id"),
        pl.format("b{}", "item").alias("item_id"),
        "timestamp",
    ).write_parquet(folder / "interactions.parquet")


def run_step(step: str, folder: Path) -> dict[str, object]:
    """One step in this process; gives its users, calls, seconds and peak memory."""
    started, users, calls = time.perf_counter(), 0, 0
    if step == "dry run":
        estimate = estimate_folder(ProfilePlace(folder, str(folder / "none.sqlite")), "recurrent")
        users, calls = estimate.users, estimate.usage.calls
    elif step in ("profiles made", "rerun"):
        users, calls = update(folder)
    elif step != "empty":
        make_data(folder, int(step.split()[0].replace(",", "")))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return {"users": users, "calls": calls, "seconds": time.perf_counter() - started, "peak_mb": peak}


def update(folder: Path) -> tuple[int, int]:
    """Bring profiles up to date with a backend that answers at once."""
    histories = Histories(folder, DataConfig(path=folder), seed=7)
    catalogue = {row["item_id"]: row for row in histories.items.iter_rows(named=True)}
    chat = ChatFormat(load_tokenizer(resolve_weights(SETTINGS.model)))
    with SummaryStore(folder / "summaries.sqlite") as store:
        templates = TemplateSet("books")
        summarizer = Summarizer(Instant("instant"), chat, templates, SETTINGS, store, catalogue, histories.attributes)
        kept = update_profiles(summarizer, "recurrent", histories)
    return kept.users, summarizer.counts.made.calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument(
        "--made", type=int, nargs="*", default=[100_000, 300_000], help="users of these have profiles made"
    )
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(run_step(arguments.step[0], Path(arguments.step[1]))))
        return
    table = Table(box=box.SIMPLE_HEAD, title=f"{describe_machine()['device']}")
    for head in ("step", "users", "calls", "seconds", "users/s", "peak MB"):
        table.add_column(head, justify="left" if head == "step" else "right")
    for users in sorted({*arguments.users, *arguments.made}):
        with TemporaryDirectory() as work:
            folder = Path(work) / "data"
            steps = [f"{users:,} users", "empty"] + ["dry run"] * (users in arguments.users)
            steps += ["profiles made", "rerun"] * (users in arguments.made)
            for step in steps:
                command = [sys.executable, __file__, "--step", step, str(folder)]
                row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                rate = f"{row['users'] / row['seconds']:,.0f}" if row["users"] else ""
                if not row["users"] and step != "empty":
                    continue
                counts = (f"{row[name]:,}" if row["users"] else "" for name in ("users", "calls"))
                table.add_row(step, *counts, f"{row['seconds']:.1f}", rate, f"{row['peak_mb']:,.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
