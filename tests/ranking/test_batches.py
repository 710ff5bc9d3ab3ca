"""Steps, rows and turns: every example once an epoch, rows within the budget, no process left out."""

from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_rankers import make_examples

from trsr.config import ExperimentConfig, TrainingConfig, parse_settings
from trsr.errors import ConfigError
from trsr.ranking.batches import LabelledPrompt, check_labels, learning_rate, pack, plan_steps, row_seed, turns

SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=40)


def test_every_example_is_seen_once_an_epoch_in_another_order():
    steps = plan_steps([1] * 24, TrainingConfig(examples_per_step=5, epochs=2))
    assert [len(step) for step in steps] == [5, 5, 5, 5, 4] * 2
    epochs = [list(chain(*steps[:5])), list(chain(*steps[5:]))]
    assert [sorted(epoch) for epoch in epochs] == [list(range(24))] * 2
    assert epochs[0] != epochs[1]


@given(SIZES, st.integers(1, 120))
def test_a_step_by_tokens_takes_examples_until_it_holds_so_many(sizes, tokens):
    steps = plan_steps(sizes, TrainingConfig(tokens_per_step=tokens, epochs=1))
    order = np.random.default_rng([7, 0]).permutation(len(sizes))
    assert list(chain(*steps)) == order.tolist()
    for step in steps:
        held = [sizes[index] for index in step]
        assert sum(held[:-1]) < tokens
        assert sum(held) >= tokens or step is steps[-1]


@given(SIZES, st.integers(1, 120))
def test_rows_keep_order_and_stay_within_the_budget(sizes, most):
    rows = pack(sizes, most)
    assert list(chain(*rows)) == list(range(len(sizes)))
    for row in rows:
        assert len(row) == 1 or sum(sizes[index] for index in row) <= most
    for row, after in pairwise(rows):  # no row is closed before it is full
        assert sum(sizes[index] for index in row) + sizes[after[0]] > most


@given(st.integers(1, 20), st.integers(1, 5))
def test_processes_share_rows_and_take_as_many_turns(count, processes):
    rows = [[index] for index in range(count)]
    shares = [list(turns(rows, process, processes)) for process in range(processes)]
    assert len({len(share) for share in shares}) == 1
    real = [turn for share in shares for turn in share if turn.real]
    assert sorted(turn.place for turn in real) == list(range(count))
    assert all(turn.members == rows[turn.place] for turn in real)
    assert all([turn.last for turn in share] == [False] * (len(share) - 1) + [True] for share in shares)


def test_dropout_differs_by_seed_step_and_row():
    seeds = {row_seed(seed, step, place) for seed in range(3) for step in range(5) for place in range(4)}
    assert len(seeds) == 60


def test_the_learning_rate_warms_up_and_falls_to_a_tenth():
    config = TrainingConfig(warmup=0.1, learning_rate=0.5)
    rates = [learning_rate(step, 60, config) / 0.5 for step in range(1, 61)]
    assert rates[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert rates[32] == pytest.approx(0.55)  # half way down
    assert rates[-1] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in pairwise(rates[5:]))


@pytest.mark.parametrize(
    ("loss", "labels", "what"),
    [("listwise", (0, 0), "positive"), ("pairwise", (0, 0), "positive"), ("pairwise", (1, 1), "negative")],
)
def test_an_example_that_a_loss_cannot_learn_from_is_named(loss, labels, what):
    examples = make_examples(2, 2, seed=0)
    examples[1] = LabelledPrompt(examples[1].prompt, labels)
    with pytest.raises(ConfigError, match=rf"^training example 1: no {what} among its candidates; the {loss} loss"):
        check_labels(examples, examples[:1], loss)
    with pytest.raises(ConfigError, match=rf"^validation example 1: no {what} among its candidates; the {loss} loss"):
        check_labels(examples[:1], examples, loss)
    check_labels(examples, examples[:1], "binary")


def test_validation_needs_positives_for_recall_whatever_the_loss():
    examples = make_examples(2, 2, seed=0)
    without = [*examples, LabelledPrompt(examples[1].prompt, (0, 0))]
    with pytest.raises(
        ConfigError, match=r"^validation example 2: no positive among its candidates; recall needs one$"
    ):
        check_labels(examples, without, "answer")
    check_labels(without, examples, "answer")


@pytest.mark.parametrize("loss", ["answer", "binary", "listwise", "pairwise"])
def test_an_example_without_candidates_is_named(loss):
    examples = make_examples(2, 2, seed=0)
    bare = [examples[0], LabelledPrompt(replace(examples[1].prompt, suffixes=()), ())]
    with pytest.raises(ConfigError, match=r"^training example 1: no candidates; give one at least$"):
        check_labels(bare, examples, loss)
    with pytest.raises(ConfigError, match=r"^validation example 1: no candidates; give one at least$"):
        check_labels(examples, bare, loss)


@pytest.mark.parametrize("loss", ["listwise", "pairwise"])
def test_a_weight_that_would_do_nothing_is_refused(loss):
    with pytest.raises(ConfigError, match=f"positive_weight has no part in the {loss} loss; leave it at 1"):
        parse_settings(TrainingConfig, {"loss": loss, "positive_weight": 2.0}, "test")


def test_full_tuning_of_4_bit_weights_is_refused():
    values = {
        "name": "x",
        "data": {"bookshop": {}},
        "ranker": {"quantization": "4bit"},
        "training": {"tune": "full"},
    }
    with pytest.raises(ConfigError, match=r"training\.tune full cannot train 4-bit weights; take lora"):
        parse_settings(ExperimentConfig, values, "test")
