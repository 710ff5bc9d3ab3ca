"""The baselines by name, and the choice of their settings: every setting of a small grid, judged on validation."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from trsr.baselines.bm25 import BM25
from trsr.baselines.embedding import EMBEDDING
from trsr.baselines.factors import ALS, BPR
from trsr.baselines.fitting import Family, FitData, Noted
from trsr.baselines.gru4rec import GRU4REC
from trsr.baselines.item_knn import ITEM_KNN
from trsr.baselines.popularity import POPULARITY, RECENT_POPULARITY
from trsr.baselines.sasrec import SASREC
from trsr.baselines.value import mean_recall
from trsr.config import BaselineName
from trsr.data.scoring import Scorer
from trsr.errors import ConfigError, ModelError
from trsr.progress import stage

FAMILIES: Mapping[BaselineName, Family[Any]] = {
    "popularity": POPULARITY,
    "recent_popularity": RECENT_POPULARITY,
    "bm25": BM25,
    "item_knn": ITEM_KNN,
    "als": ALS,
    "bpr": BPR,
    "embedding": EMBEDDING,
    "sasrec": SASREC,
    "gru4rec": GRU4REC,
}


@dataclass(frozen=True, eq=False)
class Choice:
    """The best of a grid: its scorer, its place in `tried`, and every setting tried.

    An entry of `tried` has `settings`, `valid_recall` (mean at 3, 5 and 10; null where the fit failed), `seconds` and
    what the fit had to tell.
    """

    scorer: Scorer
    chosen: int
    tried: Sequence[Mapping[str, Any]]


def check_installed(names: Sequence[BaselineName]) -> None:
    """Raise `ConfigError` with the line that installs what one of these baselines lacks."""
    for name in names:
        lacking = lacking_packages(name)
        if lacking:
            raise ConfigError(f"baselines: {name} needs {lacking}: pip install 'trsr[baselines]'")


def lacking_packages(name: BaselineName) -> str:
    """The packages that a baseline needs and that are not installed, in words; empty where it has all."""
    return " and ".join(package for package in FAMILIES[name].needs if find_spec(package) is None)


def choose(name: BaselineName, data: FitData, seed: int) -> Choice:
    """Fit every setting of a baseline's grid and keep the one with the highest recall on validation.

    The first of equals stays. Raises `ModelError` where no setting can be fitted.
    """
    family, tried = FAMILIES[name], []
    best: tuple[float, int, Scorer | None] = (-1.0, -1, None)
    with stage(f"tuning {name}", len(family.grid)) as progress:
        for place, settings in enumerate(family.grid):
            started = time.monotonic()
            entry: dict[str, Any] = {"settings": asdict(settings), "valid_recall": None}
            try:
                scorer = family.fit(data, settings, seed)
                entry["valid_recall"] = mean_recall(scorer, data.validation)
            except ModelError as error:
                entry["failed"] = str(error)
            else:
                entry |= scorer.notes if isinstance(scorer, Noted) else {}
                if entry["valid_recall"] > best[0]:
                    best = entry["valid_recall"], place, scorer
            tried.append(entry | {"seconds": round(time.monotonic() - started, 2)})
            progress.advance(f"best valid recall {best[0]:.3f}")
    if best[2] is None:
        raise ModelError(f"baselines: no setting of {name} could be fitted: {tried[0]['failed']}")
    return Choice(best[2], best[1], tried)
