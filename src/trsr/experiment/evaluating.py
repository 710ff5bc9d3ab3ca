"""What a run measures of its scores: metrics, comparisons, and the same by segments of the test examples."""

from dataclasses import asdict

import polars as pl

from trsr.config import ExperimentConfig
from trsr.data.columns import CUT, EXAMPLE, ITEM, LABEL, SPLIT, TEST, USER
from trsr.data.reading import Tables
from trsr.evaluation.comparisons import compare_run
from trsr.evaluation.evaluate import evaluate
from trsr.evaluation.segments import measure_segments
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.tasks import Tasks


def evaluate_run(folder: RunFolder, tasks: Tasks, config: ExperimentConfig) -> None:
    """Write metrics.json, segments.json, comparisons.json and per_user.parquet of all scores in the run folder."""
    scores = Tables(sorted((folder.path / "scores").glob("*.parquet")))
    evaluation = evaluate(tasks.candidates[TEST], scores, config.evaluation)
    folder.write_json("metrics.json", evaluation.metrics)
    folder.write_json("segments.json", measure_segments(evaluation, quantities(tasks), config.evaluation))
    compared = compare_run(evaluation.metrics, evaluation.per_user, config.evaluation, config.mixes)
    folder.write_json("comparisons.json", [asdict(comparison) for comparison in compared])
    folder.write_table("per_user.parquet", evaluation.per_user)


def quantities(tasks: Tasks) -> pl.DataFrame:
    """What test examples differ in: `example_id, item_events, user_events, history`, as `segments` takes them."""
    examples = tasks.examples.frame.filter(pl.col(SPLIT) == TEST).select(EXAMPLE, USER, pl.col(CUT).alias("history"))
    counts = {name: tasks.examples.fit_events.group_by(name).len(f"{name}_count") for name in (ITEM, USER)}
    targets = tasks.candidates[TEST].filter(pl.col(LABEL) == 1).join(counts[ITEM], on=ITEM, how="left")
    of_items = targets.group_by(EXAMPLE).agg(pl.col(f"{ITEM}_count").max().fill_null(0).alias("item_events"))
    return (
        examples.join(of_items, on=EXAMPLE, how="left", maintain_order="left")
        .join(counts[USER], on=USER, how="left", maintain_order="left")
        .select(EXAMPLE, "item_events", pl.col(f"{USER}_count").fill_null(0).alias("user_events"), "history")
    )
