"""A logistic layer over the scores of several models: one weight a model, fitted on examples that none was fitted on.

Scores are made comparable inside each example (mean 0, standard deviation 1 over its candidates), and the weights
maximise the mean log-probability of the targets under a softmax over the candidates (a conditional logit model,
McFadden 1974), less a small ridge penalty. A model that adds nothing to the others gets a weight near 0.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trsr.errors import ModelError

Floats = NDArray[np.float64]
_RIDGE = 1e-3


def standardized(scores: Floats, lengths: Sequence[int]) -> Floats:
    """Scores (rows, models) of examples of `lengths` rows each, with mean 0 and deviation 1 inside every example.

    A model that gives all candidates of an example the same score says nothing there: 0.
    """
    starts = _starts(lengths)
    counts = np.asarray(lengths)[:, None]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    centred = scores - (np.add.reduceat(scores, starts) / counts)[owner]
    deviation = np.sqrt(np.add.reduceat(centred**2, starts) / counts)[owner]
    result: Floats = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-12)
    return result


def fit_weights(features: Floats, labels: NDArray[np.int8], lengths: Sequence[int]) -> Floats:
    """The weight of each model, (models,), from `features` (rows, models) as `standardized` gives them.

    An example with several targets counts once, with their mean. Raises `ModelError` where the fit does not converge.
    """
    from scipy.optimize import minimize

    starts, owner = _starts(lengths), np.repeat(np.arange(len(lengths)), lengths)
    share = labels / np.add.reduceat(labels.astype(np.float64), starts)[owner]  # of each row in its example's target

    def loss(weights: Floats) -> tuple[float, Floats]:
        logits = features @ weights
        logits -= np.maximum.reduceat(logits, starts)[owner]
        exponents = np.exp(logits)
        totals = np.add.reduceat(exponents, starts)
        value = (np.log(totals).sum() - (share * logits).sum()) / len(lengths) + _RIDGE * weights @ weights
        gradient = features.T @ (exponents / totals[owner] - share) / len(lengths) + 2 * _RIDGE * weights
        return float(value), gradient

    found = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B")
    if not found.success:
        raise ModelError(f"the weights of a mix were not found: {found.message}")
    weights: Floats = found.x
    return weights


def _starts(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
