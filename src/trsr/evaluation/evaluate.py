"""From saved candidates and any model's scores to metrics with intervals; every model ranks the same candidates."""

from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
import polars as pl

from trsr.config import EvaluationConfig
from trsr.errors import DataError
from trsr.evaluation.intervals import bootstrap, user_means
from trsr.evaluation.metrics import Floats, Ints, ranking_metrics
from trsr.evaluation.protocol import negative_protocol

CHANCE = "chance"
PAIR = ["example_id", "item_id"]

Metrics: TypeAlias = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True)
class Evaluation:
    """Results of several models on one set of candidates.

    `metrics` is the content of metrics.json, `{model: {metric: {mean, low, high}}}`; `per_user` has the columns
    model, user_id and one per metric; `protocol` is the suffix that the metric names carry (see
    `trsr.evaluation.protocol`), empty where no candidate was sampled.
    """

    metrics: Metrics
    per_user: pl.DataFrame
    protocol: str


def evaluate(candidates: pl.DataFrame, scores: dict[str, pl.DataFrame], config: EvaluationConfig) -> Evaluation:
    """Compare models on checked candidates; the constant scorer `chance` is always the first of them.

    Every frame of `scores` has the columns example_id, item_id and score, and exactly the pairs of
    `candidates`, in any order. Raises `DataError` for anything else, naming the model, the first example and
    item, the number of rows and the remedy.
    """
    if CHANCE in scores:
        raise DataError(f"scores of {CHANCE}: this name is kept for the constant scorer; give the model another name")
    _check_rankable(candidates)
    aligned = {CHANCE: np.zeros(len(candidates))}
    aligned |= {model: _align(candidates, frame, model) for model, frame in scores.items()}

    labels = candidates["label"].to_numpy()
    examples, users = _index(candidates["example_id"]), _index(candidates["user_id"])
    user_of = np.zeros(int(examples.max()) + 1, dtype=np.int64)
    user_of[examples] = users
    ks = sorted(set(config.ks))
    per_example = {model: ranking_metrics(values, labels, examples, ks) for model, values in aligned.items()}
    per_user = {model: user_means(np.column_stack(list(v.values())), user_of) for model, v in per_example.items()}

    protocol = negative_protocol(candidates)
    names = [f"{name}/{protocol}" if protocol else name for name in per_example[CHANCE]]
    intervals = iter(bootstrap(np.hstack(list(per_user.values())), config.resamples, config.seed))
    metrics = {model: {name: asdict(next(intervals)) for name in names} for model in per_user}
    return Evaluation(metrics, _per_user_frame(candidates["user_id"], per_user, names), protocol)


def _check_rankable(candidates: pl.DataFrame) -> None:
    """Ranking needs a positive and a negative in every example."""
    if candidates.is_empty():
        raise DataError("candidates: no rows; build candidates for at least one example")
    positives = candidates.group_by("example_id", maintain_order=True).agg(
        pl.col("label").cast(pl.Int64).sum().alias("positives"), pl.len().alias("rows")
    )
    for missing, wrong in (
        ("positive", pl.col("positives") == 0),
        ("negative", pl.col("positives") == pl.col("rows")),
    ):
        lacking = positives.filter(wrong)
        if len(lacking):
            raise DataError(
                f"candidates: example {_shown(lacking['example_id'][0])} has no {missing} candidate "
                f"({_count(len(lacking), 'such example')}); leave it out or add one"
            )


def _align(candidates: pl.DataFrame, frame: pl.DataFrame, model: str) -> Floats:
    """Scores in the order of the candidates."""
    _check_columns(candidates, frame, model)
    frame = frame.select(*PAIR, pl.col("score").cast(pl.Float64))
    _refuse(
        frame.filter(~pl.col("score").is_finite().fill_null(value=False)),
        model,
        "a score that is missing, NaN or infinite",
        "give every candidate a finite number",
    )
    _refuse(
        frame.filter(~pl.struct(PAIR).is_first_distinct()),
        model,
        "a second score for the same candidate",
        "keep one score per example and item",
    )
    _refuse(
        candidates.join(frame, on=PAIR, how="anti", maintain_order="left"),
        model,
        "no score for a candidate",
        "score every row of the candidates file",
    )
    _refuse(
        frame.join(candidates, on=PAIR, how="anti", maintain_order="left"),
        model,
        "a score for what is no candidate",
        "score the rows of this candidates file only",
    )
    return candidates.join(frame, on=PAIR, how="left", maintain_order="left")["score"].to_numpy()


def _check_columns(candidates: pl.DataFrame, frame: pl.DataFrame, model: str) -> None:
    absent = [name for name in (*PAIR, "score") if name not in frame.columns]
    if absent:
        found = ", ".join(map(_shown, frame.columns)) or "none"
        raise DataError(
            f"scores of {model}: no column {' or '.join(absent)} (found {found}); "
            "write the columns example_id, item_id and score"
        )
    for name in PAIR:
        if frame[name].dtype != candidates[name].dtype:
            raise DataError(
                f"scores of {model}: column {name} is {frame[name].dtype} but {candidates[name].dtype} in the "
                "candidates; copy the ids from the candidates file as they are"
            )
    if not frame["score"].dtype.is_numeric():
        raise DataError(f"scores of {model}: column score is {frame['score'].dtype}; write numbers")


def _refuse(offending: pl.DataFrame, model: str, fact: str, remedy: str) -> None:
    if offending.is_empty():
        return
    example, item = offending.select(PAIR).row(0)
    place = f"in example {_shown(example)}, item {_shown(item)} ({_count(len(offending), 'such row')})"
    raise DataError(f"scores of {model}: {fact} {place}; {remedy}")


def _shown(name: str | None) -> str:
    """A name as it is, or quoted and escaped where it would break the line."""
    return str(name) if name is None or name.isprintable() else repr(name)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _index(ids: pl.Series) -> Ints:
    """Number of each id in sorted order, from 0."""
    return ids.rank("dense").cast(pl.Int64).to_numpy() - 1


def _per_user_frame(user_ids: pl.Series, per_user: dict[str, Floats], names: list[str]) -> pl.DataFrame:
    users = user_ids.unique().sort().alias("user_id")
    return pl.concat(
        pl.DataFrame(values, schema=names, orient="row").select(pl.lit(model).alias("model"), users, pl.col(names))
        for model, values in per_user.items()
    )
