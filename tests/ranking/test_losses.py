"""Losses against values worked out by hand; a wrong loss trains a wrong ranker without any error."""

import math

import pytest
import torch

from tiny import make_model
from trsr.llm.chat import Answers
from trsr.ranking import losses
from trsr.ranking.losses import PackedLoss, listwise_loss, pairwise_loss
from trsr.ranking.packing import Part, Row

ANSWERS = Answers(257, 258, "yes", "no")
CPU = torch.device("cpu")
LOSSES = ["answer", "binary", "listwise", "pairwise"]
# two users: hidden states say yes 2 and 0.5 and no 1 and 3 for the first, yes 1 and no 1 for the second
HIDDEN = [[2.0, 1.0, 3.0], [0.5, 3.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
ROW = Row.of([Part([1], [[2], [3]]), Part([1], [[2], [3]])], CPU, "blocks")
LABELS = torch.tensor([1, 0, 0, 1])


@pytest.fixture
def model(monkeypatch):
    """Hidden states are the first numbers of the logits: the head copies them to yes, no and one other token."""
    model = make_model("llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[257, 0] = 1.0
        model.lm_head.weight[258, 1] = 1.0
        model.lm_head.weight[5, 2] = 1.0
    hidden = torch.tensor([[*row, *[0.0] * (32 - len(row))] for row in HIDDEN])
    monkeypatch.setattr(losses, "last_hidden", lambda model, row: hidden)
    return model


def value(model, name, weights=None, positive_weight=1.0):
    return PackedLoss(model, ANSWERS, name, positive_weight)(ROW, LABELS, weights).item()


def softplus(number):
    return math.log1p(math.exp(number))


def test_binary_loss_is_the_cross_entropy_between_yes_and_no(model):
    first, second = (softplus(-1.0) + softplus(-2.5)) / 2, math.log(2)
    assert value(model, "binary") == pytest.approx((first + second) / 2, rel=1e-5)


def test_answer_loss_is_cross_entropy_over_the_whole_vocabulary(model):
    # logits: yes, no and token 5 as above, the other 317 tokens 0
    first = math.log(math.exp(2) + math.exp(1) + math.exp(3) + 317) - 2
    second = math.log(math.exp(0.5) + math.exp(3) + 1 + 317) - 3
    third = math.log(2 * math.exp(1) + 318) - 1
    assert value(model, "answer") == pytest.approx(((first + second) / 2 + third) / 2, rel=1e-5)


def test_a_family_that_bounds_its_logits_is_trained_with_bounded_ones(model):
    model.config.final_logit_softcapping = 2.0

    def bounded(logit):
        return 2 * math.tanh(logit / 2)

    total = math.exp(bounded(1)) * 2 + 318
    loss = PackedLoss(model, ANSWERS, "answer")(ROW, LABELS, torch.tensor([0.0, 1.0]))
    assert loss.item() == pytest.approx(math.log(total) - bounded(1), rel=1e-5)


@pytest.mark.parametrize(("name", "share"), [("binary", [-1.0, 0.0]), ("answer", None)])
def test_the_positive_weight_multiplies_terms_of_positives_only(model, name, share):
    plain, heavy = value(model, name), value(model, name, positive_weight=3.0)
    if share is None:
        terms = math.log(math.exp(2) + math.exp(1) + math.exp(3) + 317) - 2, math.log(2 * math.exp(1) + 318) - 1
    else:
        terms = tuple(softplus(odds) for odds in share)
    assert heavy - plain == pytest.approx(2 * sum(terms) / 4, rel=1e-5)


def test_listwise_loss_is_minus_the_log_share_of_the_positive():
    log_odds = torch.log(torch.tensor([1.0, 2.0, 5.0]))
    assert listwise_loss(log_odds, torch.tensor([0, 1, 0])).item() == pytest.approx(math.log(8 / 2), abs=1e-6)


def test_listwise_loss_with_two_positives_is_their_mean():
    log_odds = torch.log(torch.tensor([1.0, 2.0, 5.0]))
    expected = (math.log(8 / 1) + math.log(8 / 5)) / 2
    assert listwise_loss(log_odds, torch.tensor([1, 0, 1])).item() == pytest.approx(expected, abs=1e-6)


def test_pairwise_loss_is_the_mean_over_pairs_of_a_positive_and_a_negative():
    log_odds, labels = torch.tensor([2.0, -1.0, 0.5, 1.0]), torch.tensor([1, 0, 0, 1])
    expected = (softplus(-3.0) + softplus(-1.5) + softplus(-2.0) + softplus(-0.5)) / 4
    assert pairwise_loss(log_odds, labels).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", [listwise_loss, pairwise_loss])
def test_losses_over_a_list_do_not_change_when_all_scores_rise_together(loss):
    log_odds, labels = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0, 0, 1])
    assert loss(log_odds + 50, labels).item() == pytest.approx(loss(log_odds, labels).item(), rel=1e-5)


@pytest.mark.parametrize("name", ["binary", "listwise", "pairwise"])
def test_losses_on_log_odds_do_not_look_at_other_words(model, name):
    before = value(model, name)
    with torch.no_grad():
        model.lm_head.weight[:257] = 7.0
    assert value(model, name) == before


@pytest.mark.parametrize("name", LOSSES)
def test_weights_multiply_the_losses_of_users(model, name):
    first, second = (value(model, name, torch.tensor(one)) for one in ([1.0, 0.0], [0.0, 1.0]))
    assert value(model, name) == pytest.approx((first + second) / 2, rel=1e-6)
    assert value(model, name, torch.tensor([0.25, 2.0])) == pytest.approx(0.25 * first + 2 * second, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_answer_position_is_trained(name):
    # the published code trains on every token of the prompt; here a token's own prediction has no part in the loss
    model = make_model("llama")
    seen = []
    model.model.norm.register_forward_hook(lambda module, inputs, output: seen.append(output) or output.retain_grad())
    row = Row.of([Part([1, 2, 3], [[4, 5], [6, 7, 8]])], CPU, "blocks")
    PackedLoss(model, ANSWERS, name)(row, torch.tensor([1, 0])).backward()
    touched = seen[0].grad[0].abs().sum(dim=-1) > 0
    assert touched.tolist() == [False, False, False, False, True, False, False, True]
