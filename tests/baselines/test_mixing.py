"""The logistic layer over scores: what it finds, and that scale, shift and order of the scores are nothing to it."""

import numpy as np
import pytest

from trsr.baselines.mixing import fit_weights, standardized


def examples(count, size, weights, seed=0):
    """Examples whose target is drawn from a softmax of weighted features."""
    rng = np.random.default_rng(seed)
    lengths = [size] * count
    features = standardized(rng.normal(size=(count * size, len(weights))), lengths)
    noise = rng.gumbel(size=count * size)
    labels = np.zeros((count, size), np.int8)
    best = (features @ np.array(weights) + noise).reshape(count, size).argmax(1)
    labels[np.arange(count), best] = 1
    return features, labels.ravel(), lengths


def test_the_weights_that_drew_the_targets_are_found():
    features, labels, lengths = examples(4000, 8, [1.5, 0.0, -0.7])
    np.testing.assert_allclose(fit_weights(features, labels, lengths), [1.5, 0.0, -0.7], atol=0.08)


def test_a_model_that_separates_all_examples_gets_a_finite_weight():
    features, labels, lengths = examples(50, 5, [1.0])
    perfect = standardized(np.column_stack([labels.astype(float), features[:, 0]]), lengths)
    weights = fit_weights(perfect, labels, lengths)
    assert np.isfinite(weights).all()
    assert weights[0] > 2


def test_scale_and_shift_of_an_example_do_not_count_and_a_constant_says_nothing():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(9, 2))
    lengths = [4, 2, 3]
    moved = scores.copy()
    moved[:4] = moved[:4] * 7 - 100
    moved[6:] *= 1e-6
    np.testing.assert_allclose(standardized(moved, lengths), standardized(scores, lengths), atol=1e-6)
    constant = standardized(np.full((9, 1), 3.7), lengths)
    assert (constant == 0).all()


def test_an_example_of_several_targets_counts_once():
    features, labels, lengths = examples(300, 6, [1.0, 0.5])
    several = labels.copy()
    several[0] = several[1] = 1
    assert not np.allclose(fit_weights(features, several, lengths), fit_weights(features, labels, lengths), atol=1e-9)
    np.testing.assert_allclose(
        fit_weights(features, several, lengths), fit_weights(features, labels, lengths), atol=0.05
    )


@pytest.mark.parametrize("size", [1, 7])
def test_the_order_of_examples_does_not_count(size):
    features, labels, lengths = examples(40, size, [1.0, 0.5])
    back = np.arange(40)[::-1]
    rows = (back[:, None] * size + np.arange(size)).ravel()
    np.testing.assert_allclose(
        fit_weights(features[rows], labels[rows], lengths), fit_weights(features, labels, lengths), atol=1e-5
    )
