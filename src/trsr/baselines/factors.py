"""Matrix factorisation for implicit feedback, from the library implicit: ALS and BPR.

ALS: Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008. BPR: Rendle et al., BPR:
Bayesian Personalized Ranking from Implicit Feedback, UAI 2009.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trsr.baselines.fitting import Codes, Family, FitData, Vocabulary, mark_unknown, ones_matrix
from trsr.data.scoring import RankingRequest, Scores
from trsr.data.seeds import generator
from trsr.errors import ModelError

Factors = NDArray[np.float32]
_ITERATIONS_ALS, _ITERATIONS_BPR = 20, 100
_FOLD_BATCH = 1024
_FOLD_NEGATIVES, _FOLD_STEPS, _FOLD_RATE = 256, 100, 0.5


@dataclass(frozen=True)
class AlsSettings:
    """Size and regularisation of the factors; `alpha` is how much surer an event is than its absence."""

    factors: int
    regularization: float
    alpha: float


@dataclass(frozen=True)
class BprSettings:
    """Size, learning rate and regularisation of the factors."""

    factors: int
    learning_rate: float
    regularization: float


@dataclass(frozen=True, eq=False)
class Als:
    """Scores by the factors of the history, which are solved for anew: users need not have been fitted."""

    items: Vocabulary
    model: Any

    def score(self, requests: Sequence[RankingRequest]) -> Iterator[Scores]:
        """Products of factors (n candidates,) for each request."""
        for start in range(0, len(requests), _FOLD_BATCH):
            some = requests[start : start + _FOLD_BATCH]
            for request, user in zip(some, self._fold_in(some), strict=True):
                codes = self.items.codes(request.candidates)
                yield mark_unknown(codes, self.model.item_factors[codes] @ user)

    def _fold_in(self, requests: Sequence[RankingRequest]) -> Factors:
        """Factors (requests, factors) that fit the histories best, items held fixed."""
        histories = [np.unique(self.items.known(request.history)) for request in requests]
        rows = ones_matrix(histories, len(self.items.items))
        factors: Factors = self.model.recalculate_user(np.arange(len(requests)), rows)
        return factors


@dataclass(frozen=True, eq=False)
class Bpr:
    """Scores by fitted factors; those of a user who was not fitted are learned from the history, items held fixed."""

    items: Vocabulary
    users: Mapping[str, int]
    user_factors: Factors
    item_factors: Factors
    regularization: float
    negatives: Codes

    def score(self, requests: Sequence[RankingRequest]) -> Iterator[Scores]:
        """Products of factors (n candidates,) for each request."""
        for request in requests:
            fitted = self.users.get(request.user_id)
            user = self._fold_in(request) if fitted is None else self.user_factors[fitted]
            codes = self.items.codes(request.candidates)
            yield mark_unknown(codes, self.item_factors[codes] @ user)

    def _fold_in(self, request: RankingRequest) -> Factors:
        """Gradient ascent on the BPR criterion of one user over fixed negatives; the last factor is the items' bias."""
        user = np.zeros(self.item_factors.shape[1], np.float32)
        user[-1] = 1
        history = np.unique(self.items.known(request.history))
        negatives = self.item_factors[np.setdiff1d(self.negatives, history)]
        if len(history) == 0 or len(negatives) == 0:
            return user
        positives = self.item_factors[history]
        for _ in range(_FOLD_STEPS):
            margin = (positives @ user)[:, None] - (negatives @ user)[None, :]
            wrong = 1 / (1 + np.exp(np.clip(margin, -30, 30)))
            pull = wrong.mean(axis=1) @ positives - wrong.mean(axis=0) @ negatives * (len(history) / len(wrong))
            user[:-1] += _FOLD_RATE * (pull / len(history) - self.regularization * user)[:-1]
        return user


def fit_als(data: FitData, settings: AlsSettings, seed: int) -> Als:
    """Factorise users x items of the fitted events; the same for a seed, whatever the number of threads."""
    import implicit.cpu.als as library
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # implicit has threads of its own, which those of BLAS would slow down
        model = library.AlternatingLeastSquares(
            factors=settings.factors,
            regularization=settings.regularization,
            alpha=settings.alpha,
            iterations=_ITERATIONS_ALS,
            random_state=seed,
        )
        _fit(model, data)
    return Als(data.fitted, model)


def fit_bpr(data: FitData, settings: BprSettings, seed: int) -> Bpr:
    """Learn factors by pairs of an event and a uniform negative, on one thread: with more, no two fits are the same."""
    import implicit.cpu.bpr as library
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        model = library.BayesianPersonalizedRanking(
            factors=settings.factors,
            learning_rate=settings.learning_rate,
            regularization=settings.regularization,
            iterations=_ITERATIONS_BPR,
            num_threads=1,
            random_state=seed,
        )
        _fit(model, data)
    count = len(data.fitted.items)
    negatives = generator(seed, "bpr fold-in").permutation(count)[:_FOLD_NEGATIVES]
    return Bpr(data.fitted, data.users, model.user_factors, model.item_factors, settings.regularization, negatives)


def _fit(model: Any, data: FitData) -> None:
    from implicit.recommender_base import ModelFitError

    try:
        model.fit(data.matrix, show_progress=False)
    except ModelFitError as error:
        raise ModelError(f"the fit went wrong: {error}") from None


ALS = Family(
    tuple(AlsSettings(*chosen) for chosen in product((64,), (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0), (10.0, 40.0))),
    fit_als,
    needs=("implicit", "scipy"),
)
BPR = Family(
    tuple(BprSettings(*chosen) for chosen in product((64,), (0.03, 0.1, 0.3), (0.01, 0.03, 0.1, 0.3))),
    fit_bpr,
    needs=("implicit", "scipy"),
)
