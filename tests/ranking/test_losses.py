"""Losses against values worked out by hand; a wrong loss trains a wrong ranker without any error."""

import math

import pytest
import torch

from tiny import make_model
from trsr.llm.chat import Answers
from trsr.ranking.losses import binary_loss, listwise_loss, make_loss
from trsr.ranking.shared_prefix import AnswerHead, packed_hidden

ANSWERS = Answers(257, 258, "yes", "no")


def small_model():
    """Hidden states are the first numbers of the logits: the head copies them to yes, no and one other token."""
    model = make_model("llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[257, 0] = 1.0
        model.lm_head.weight[258, 1] = 1.0
        model.lm_head.weight[5, 2] = 1.0
    return model


def loss_of(name, model):
    return make_loss(name, model, AnswerHead.of(model, ANSWERS.yes_id, ANSWERS.no_id), ANSWERS)


def hidden_states(*rows):
    return torch.tensor([[*row, *[0.0] * (32 - len(row))] for row in rows])


def test_binary_loss_is_the_mean_cross_entropy_between_yes_and_no():
    log_odds = torch.tensor([0.0, math.log(3), -math.log(4)])
    expected = (math.log(2) + math.log(4 / 3) + math.log(5 / 4)) / 3
    assert binary_loss(log_odds, torch.tensor([1, 1, 0])).item() == pytest.approx(expected, abs=1e-6)


def test_listwise_loss_is_minus_the_log_share_of_the_positive():
    log_odds = torch.log(torch.tensor([1.0, 2.0, 5.0]))
    assert listwise_loss(log_odds, torch.tensor([0, 1, 0])).item() == pytest.approx(math.log(8 / 2), abs=1e-6)


def test_listwise_loss_with_two_positives_is_their_mean():
    log_odds = torch.log(torch.tensor([1.0, 2.0, 5.0]))
    expected = (math.log(8 / 1) + math.log(8 / 5)) / 2
    assert listwise_loss(log_odds, torch.tensor([1, 0, 1])).item() == pytest.approx(expected, abs=1e-6)


def test_listwise_loss_does_not_change_when_all_scores_rise_together():
    log_odds, labels = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0, 0, 1])
    assert listwise_loss(log_odds + 50, labels).item() == pytest.approx(
        listwise_loss(log_odds, labels).item(), rel=1e-5
    )


def test_answer_loss_is_cross_entropy_over_the_whole_vocabulary():
    loss = loss_of("answer", small_model())
    # logits: yes 2, no 1, token 5 has 3, the other 317 tokens 0
    all_exp = math.exp(2) + math.exp(1) + math.exp(3) + 317
    hidden = hidden_states([2.0, 1.0, 3.0], [2.0, 1.0, 3.0])
    expected = ((math.log(all_exp) - 2) + (math.log(all_exp) - 1)) / 2
    assert loss(hidden, torch.tensor([1, 0])).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["binary", "listwise"])
def test_losses_on_log_odds_do_not_look_at_other_words(name):
    model = small_model()
    hidden, labels = hidden_states([2.0, 1.0], [0.5, 3.0]), torch.tensor([1, 0])
    before = loss_of(name, model)(hidden, labels)
    with torch.no_grad():
        model.lm_head.weight[:257] = 7.0
    assert torch.equal(loss_of(name, model)(hidden, labels), before)


def test_binary_loss_on_hidden_states_uses_yes_minus_no():
    hidden = hidden_states([2.0, 1.0], [0.5, 3.0])
    expected = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-2.5))) / 2
    assert loss_of("binary", small_model())(hidden, torch.tensor([1, 0])).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["answer", "binary", "listwise"])
def test_only_the_answer_position_is_trained(name):
    # the published code trains on every token of the prompt; here a token's own prediction has no part in the loss
    model = make_model("llama")
    seen = []
    model.model.norm.register_forward_hook(lambda module, inputs, output: seen.append(output) or output.retain_grad())
    hidden = packed_hidden(model, [1, 2, 3], [[4, 5], [6, 7, 8]], torch.device("cpu"))
    loss_of(name, model)(hidden, torch.tensor([1, 0])).backward()
    touched = seen[0].grad[0].abs().sum(dim=-1) > 0
    assert touched.tolist() == [False, False, False, False, True, False, False, True]
