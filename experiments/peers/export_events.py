"""What a model in another environment may be fitted on: the events and histories of an experiment, as plain tables.

python experiments/peers/export_events.py experiments/baselines-products.yaml peers/products
"""

import sys
from pathlib import Path

import polars as pl

from trsr.config import load_experiment
from trsr.data.columns import EXAMPLE, ITEM, ORDER, TEST, USER, VALID
from trsr.experiment.tasks import make_tasks


def main(config: Path, out: Path) -> None:
    """Write fit_events.parquet, histories.parquet, valid_candidates.parquet and candidates.parquet into `out`."""
    tasks = make_tasks(load_experiment(config))
    out.mkdir(parents=True, exist_ok=True)
    tasks.examples.fit_events.select(USER, ITEM, ORDER).write_parquet(out / "fit_events.parquet")
    requests = [task.request for split in (VALID, TEST) for task in tasks.of(split)]
    rows = [(request.example_id, list(request.history)) for request in requests]
    schema = {EXAMPLE: pl.String, "history": pl.List(pl.String)}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(out / "histories.parquet")
    tasks.candidates[VALID].write_parquet(out / "valid_candidates.parquet")
    tasks.candidates[TEST].write_parquet(out / "candidates.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
