"""What the controls of a model say: does its ranking hang on the history and on the texts, and on nothing else?

The measure is AUC, the probability that a target stands above a negative: it is one half by chance whatever the number
of candidates, and sees more in a few examples than recall does.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from trsr.config import EvaluationConfig, ExperimentConfig
from trsr.data.columns import EXAMPLE, ITEM, TEST, USER
from trsr.data.reading import read_table
from trsr.evaluation.intervals import Interval, bootstrap, user_means
from trsr.evaluation.metrics import Floats, ranking_metrics
from trsr.evaluation.paired import (
    FEWEST_USERS,
    SIGNIFICANCE,
    sign_flip_test,
    smallest_detectable,
    user_differences,
)
from trsr.evaluation.table import number, with_bounds
from trsr.experiment.checks.controls import KINDS, Kind
from trsr.experiment.checks.entry import Entry, arrays, beside, entry
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.tasks import Tasks

CHANCE_AUC = 0.5
IGNORED = 0.05
"""Scores that change by less of their spread within examples do not hang on what was exchanged."""

SAME = 0.1
"""Scores that change by more of their spread are not the same; rounding in half precision stays below."""

_OFF_CHANCE = 0.01  # level at which an AUC is not that of chance; a run asks it of every model that reads


@dataclass(frozen=True)
class Exchange:
    """AUC over users as the model is, and with something exchanged; `drop` is the one minus the other, user by user.

    `p` is that of no drop, `p_chance` that of chance with the exchange; `change` is the root mean square change of the
    scores, centred within examples, over their spread there. `detectable` is the drop that as many users would show 4
    times in 5. `popularity` is the AUC of popularity on the same pairs, where a run has it.
    """

    examples: int
    users: int
    real: Interval
    exchanged: Interval
    drop: Interval
    p: float
    p_chance: float
    change: float
    detectable: float | None
    popularity: float | None


def control_results(folder: RunFolder, tasks: Tasks, config: ExperimentConfig) -> tuple[dict[str, Any], list[Entry]]:
    """The content of `controls.json`, {model: {kind: numbers}}, and a line for every control."""
    content: dict[str, Any] = {}
    lines = []
    popular = folder.scores("popularity")
    popularity = read_table(popular) if popular.exists() else None
    for model in sorted(path.name for path in (folder.path / "controls").glob("*")):
        scores = read_table(folder.scores(model))
        content[model] = {}
        for kind in KINDS:
            if folder.control(model, kind).exists():
                control = read_table(folder.control(model, kind))
                found = exchange_of(tasks.candidates[TEST], scores, control, config.evaluation, popularity)
                content[model][kind] = None if found is None else asdict(found)
                lines.append(control_line(kind, model, found))
    return content, lines


def exchange_of(
    candidates: pl.DataFrame,
    scores: pl.DataFrame,
    exchanged: pl.DataFrame,
    config: EvaluationConfig,
    popularity: pl.DataFrame | None = None,
) -> Exchange | None:
    """Compare the scores of a model with those of a control on the pairs that the control has, None where it has none.

    `candidates` has the columns of the contract, the other frames are scores files.
    """
    members = candidates.join(exchanged, on=[EXAMPLE, ITEM], how="semi", maintain_order="left")
    if members.is_empty():
        return None
    here, there = beside(members, scores), beside(members, exchanged)
    real, other = _user_aucs(here), _user_aucs(there)
    drops, above = user_differences(real, other), user_differences(other, np.full_like(other, CHANCE_AUC))
    intervals = bootstrap(np.hstack([real, other, drops]), config.resamples, config.seed)
    p, p_chance = sign_flip_test(np.hstack([drops, above]), config.seed)
    return Exchange(
        examples=members[EXAMPLE].n_unique(),
        users=len(real),
        real=intervals[0],
        exchanged=intervals[1],
        drop=intervals[2],
        p=float(p),
        p_chance=float(p_chance),
        change=_change(here, there),
        detectable=smallest_detectable(drops)[0],
        popularity=None if popularity is None else float(_user_aucs(beside(members, popularity)).mean()),
    )


def control_line(kind: Kind, model: str, found: Exchange | None) -> Entry:
    """What one control of a model says."""
    check, judge = {
        "history": (f"the ranking needs the user's own history ({model})", _judge_history),
        "texts": (f"the ranking needs the items' own texts ({model})", _judge_texts),
        "places": (f"another order of the candidates changes no score ({model})", _judge_places),
    }[kind]
    return entry(check, *judge(found)) if found else entry(check, True, "not tried: no other user to exchange with")


def not_asked() -> Entry:
    """What is said of a run whose settings ask for no control."""
    return entry("rankings hang on histories and texts", True, "not tried: checks.control_examples is 0")


def not_tried(model: str) -> Entry:
    """What is said of a model without controls."""
    return entry(
        f"the ranking needs the user's own history ({model})",
        False,
        f"not tried: the scores are older than this check; delete scores/{model}.parquet and run again",
    )


def _judge_history(found: Exchange) -> tuple[bool, str]:
    popularity = "" if found.popularity is None else f", popularity {number(found.popularity)}"
    detail = (
        f"auc {_bounds(found.real)}, with another user's history {_bounds(found.exchanged)} (chance .500{popularity}); "
        f"drop {_bounds(found.drop)}, p = {number(found.p)}, {found.users} users"
    )
    if found.change < IGNORED:
        return False, (
            f"{detail}; scores change by {found.change:.1%} of their spread only: the model ignores the history. Show "
            "more of it (prompt.recent_items, methods), train longer, or report the model as one that ignores it"
        )
    if found.users < FEWEST_USERS:
        return True, f"{detail}; too few users to tell, raise checks.control_examples"
    if found.p <= SIGNIFICANCE and found.drop.mean > 0:
        return True, detail
    if found.real.low <= CHANCE_AUC:
        return True, f"{detail}; no better than chance with the own history, so there is nothing to lose"
    seen = "" if found.detectable is None else f" (a drop of {number(found.detectable)} would have been seen)"
    return False, (
        f"{detail}; no drop{seen}: what the model knows is not from the history, so compare it with popularity, and "
        "raise checks.control_examples to be surer"
    )


def _judge_texts(found: Exchange) -> tuple[bool, str]:
    detail = (
        f"auc {_bounds(found.real)}, with the texts of other items {_bounds(found.exchanged)} (chance .500, p = "
        f"{number(found.p_chance)}), {found.users} users"
    )
    if found.change < IGNORED:
        return False, (
            f"{detail}; scores change by {found.change:.1%} of their spread only: the model ignores the texts. Look at "
            "a prompt, and train longer"
        )
    if found.users < FEWEST_USERS:
        return True, f"{detail}; too few users to tell, raise checks.control_examples"
    if found.p_chance > _OFF_CHANCE:
        return True, detail
    return False, (
        f"{detail}; not chance: something other than the texts carries the ranking. Look at what else is in the prompt "
        "(prompt.show_ids) and at the places of the targets"
    )


def _judge_places(found: Exchange) -> tuple[bool, str]:
    detail = f"scores change by {found.change:.2%} of their spread, {found.examples} examples"
    if found.change <= SAME:
        return True, detail
    return (
        False,
        f"{detail}; the place or the other candidates decide: score each alone, or report the mean over orders",
    )


def _user_aucs(scored: pl.DataFrame) -> Floats:
    """AUC of every user, (users, 1)."""
    users = scored.group_by(EXAMPLE).agg(pl.col(USER).first()).sort(EXAMPLE)[USER]
    values = ranking_metrics(*arrays(scored), [1])["auc"]
    return user_means(values[:, None], users.rank("dense").cast(pl.Int64).to_numpy() - 1)


def _change(here: pl.DataFrame, there: pl.DataFrame) -> float:
    centred = [
        frame.select(pl.col("score") - pl.col("score").mean().over(EXAMPLE)).to_series().to_numpy()
        for frame in (here, there)
    ]
    spread = float(np.sqrt((centred[0] ** 2).mean()))
    change = float(np.sqrt(((centred[1] - centred[0]) ** 2).mean()))
    return change / spread if spread else float(change > 0)


def _bounds(interval: Interval) -> str:
    return with_bounds(asdict(interval))
