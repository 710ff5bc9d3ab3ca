"""From saved candidates and any model's scores to metrics with intervals; every model ranks the same candidates."""

from collections.abc import Mapping, Sequence
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
    `trsr.evaluation.protocol`), empty where no candidate was sampled. `examples` (example_id, user_id) are sorted by
    id, and `per_example` has one row for each of them and one column for each metric, by model.
    """

    metrics: Metrics
    per_user: pl.DataFrame
    protocol: str
    examples: pl.DataFrame
    per_example: Mapping[str, Floats]


def evaluate(candidates: pl.DataFrame, scores: Mapping[str, pl.DataFrame], config: EvaluationConfig) -> Evaluation:
    """Compare models on checked candidates; the constant scorer `chance` is always the first of them.

    Every frame of `scores` has the columns example_id, item_id and score, and exactly the pairs of
    `candidates`, in any order; each is taken once, one after another. Raises `DataError` for anything else, naming
    the model, the first example and item, the number of rows and the remedy.
    """
    if CHANCE in scores:
        raise DataError(f"scores of {CHANCE}: this name is kept for the constant scorer; give the model another name")
    _check_rankable(candidates)
    labels, examples = candidates["label"].to_numpy(), _index(candidates["example_id"])
    ks = sorted(set(config.ks))
    measured = {CHANCE: ranking_metrics(np.zeros(len(candidates)), labels, examples, ks)}
    for model in scores:
        measured[model] = ranking_metrics(_align(candidates, scores[model], model), labels, examples, ks)

    protocol = negative_protocol(candidates)
    names = [f"{name}/{protocol}" if protocol else name for name in measured[CHANCE]]
    per_example = {model: np.column_stack(list(values.values())) for model, values in measured.items()}
    of_example = candidates.group_by("example_id").agg(pl.col("user_id").first()).sort("example_id")
    metrics, per_user = over_users(per_example, of_example["user_id"], names, config)
    return Evaluation(metrics, per_user, protocol, of_example, per_example)


def over_users(
    per_example: Mapping[str, Floats], users: pl.Series, names: Sequence[str], config: EvaluationConfig
) -> tuple[Metrics, pl.DataFrame]:
    """Means over users with intervals, and the means of every user, from (examples, metrics) of each model.

    `users` has the user of every example; a user counts once, with the mean over its examples.
    """
    user_of = _index(users)
    per_user = {model: user_means(values, user_of) for model, values in per_example.items()}
    intervals = iter(bootstrap(np.hstack(list(per_user.values())), config.resamples, config.seed))
    metrics = {model: {name: asdict(next(intervals)) for name in names} for model in per_user}
    return metrics, _per_user_frame(users, per_user, names)


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
    if frame.select(PAIR).equals(candidates.select(PAIR)):  # no need to join, which takes memory
        return frame["score"].to_numpy()
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
    runs = ids.rle()
    places = runs.struct["value"].rank("dense").cast(pl.Int64).to_numpy() - 1
    return np.repeat(places, runs.struct["len"].to_numpy())


def _per_user_frame(user_ids: pl.Series, per_user: Mapping[str, Floats], names: Sequence[str]) -> pl.DataFrame:
    users = user_ids.unique().sort().alias("user_id")
    return pl.concat(
        pl.DataFrame(values, schema=names, orient="row").select(pl.lit(model).alias("model"), users, pl.col(names))
        for model, values in per_user.items()
    )
