"""Gradients of packed rows against those of separate prompts, the slow obvious way, in fp32."""

import pytest
import torch

from tiny import make_model
from trsr.config import TrainingConfig
from trsr.llm.chat import Answers
from trsr.ranking.adapters import finish, prepare
from trsr.ranking.attention import packed_attention
from trsr.ranking.losses import PackedLoss
from trsr.ranking.packing import Part, Row
from trsr.ranking.shared_prefix import decoder_of

ANSWERS = Answers(257, 258, "yes", "no")
CPU = torch.device("cpu")
USERS = [
    Part([1, 2, 3, 4, 5], [[6, 7], [8, 9, 10], [11]]),
    Part([20, 21], [[6, 7, 12], [30]]),
    Part([40, 41, 42], [[6], [7], [8, 9], [6]]),
]
LABELS = [[0, 1, 0], [1, 0], [0, 1, 1, 0]]
LOSSES = ["answer", "binary", "listwise", "pairwise"]


def tuned_model(tune="lora", family="llama", checkpointing=False):
    config = TrainingConfig(tune=tune, lora_dropout=0.0, activation_checkpointing=checkpointing)
    model = prepare(make_model(family), config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero at first, and then nothing would reach A
                parameter.normal_(0, 0.1, generator=generator)
    return model.train()


def packed_gradients(model, name):
    row = Row.of(USERS, CPU, "blocks")
    with packed_attention(decoder_of(model).config):
        loss = PackedLoss(model, ANSWERS, name)(row, torch.tensor([label for user in LABELS for label in user]))
        loss.backward()
    return loss.item(), gradients(model)


def gradients(model):
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.requires_grad}
    model.zero_grad(set_to_none=True)
    return found


def loss_of_user(name, logits, labels):
    odds = logits[:, ANSWERS.yes_id] - logits[:, ANSWERS.no_id]
    positive = torch.tensor(labels).bool()
    if name == "answer":
        targets = [ANSWERS.yes_id if label else ANSWERS.no_id for label in labels]
        return -torch.log_softmax(logits, -1)[range(len(labels)), targets].mean()
    if name == "binary":
        return -torch.where(positive, torch.sigmoid(odds), torch.sigmoid(-odds)).log().mean()
    if name == "listwise":
        return (odds.logsumexp(0) - odds[positive]).mean()
    return -torch.sigmoid(odds[positive][:, None] - odds[~positive][None]).log().mean()


def separate_gradients(model, name):
    total = 0.0
    for part, labels in zip(USERS, LABELS, strict=True):
        prompts = [[*part.prefix, *suffix] for suffix in part.suffixes]
        logits = torch.stack([model(torch.tensor([prompt]), use_cache=False).logits[0, -1] for prompt in prompts])
        loss = loss_of_user(name, logits, labels) / len(USERS)
        loss.backward()
        total += loss.item()
    return total, gradients(model)


def assert_close(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    largest = max(value.abs().max().item() for value in expected[1].values())
    for name, value in expected[1].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-5 * largest, msg=name)
    assert largest > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("tune", ["lora", "full"])
def test_several_users_in_one_row_give_the_gradients_of_separate_prompts(name, tune):
    model = tuned_model(tune)
    assert_close(packed_gradients(model, name), separate_gradients(model, name))


def test_a_head_that_is_the_embedding_gets_its_gradients_from_both():
    model = tuned_model("full", "qwen2")
    assert_close(packed_gradients(model, "binary"), separate_gradients(model, "binary"))


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_activations_computed_again_give_the_same_gradients(tune):
    kept, computed = (packed_gradients(tuned_model(tune, checkpointing=again), "answer") for again in (False, True))
    assert kept[0] == computed[0]
    assert all(torch.equal(value, computed[1][name]) for name, value in kept[1].items())


def test_activations_are_computed_again_only_if_asked():
    for again in (False, True):
        model = tuned_model(checkpointing=again)
        calls = []
        decoder_of(model).layers[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        packed_gradients(model, "binary")
        assert len(calls) == 1 + again
        finish(model, "float32")
        assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_a_bf16_base_has_an_fp32_adapter_and_full_tuning_fp32_weights():
    lora = prepare(make_model().to(torch.bfloat16), TrainingConfig())
    dtypes = {value.requires_grad: value.dtype for value in lora.parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}
    _, found = packed_gradients(lora, "answer")
    assert {value.dtype for value in found.values()} == {torch.float32}
    full = prepare(make_model().to(torch.bfloat16), TrainingConfig(tune="full"))
    assert {(value.requires_grad, value.dtype) for value in full.parameters()} == {(True, torch.float32)}


def test_bf16_autocast_leaves_log_odds_and_losses_in_fp32():
    module = PackedLoss(tuned_model("full"), ANSWERS, "binary")
    row, labels = Row.of(USERS, CPU, "blocks"), torch.tensor([label for user in LABELS for label in user])
    with torch.no_grad():
        exact = module.by_user(row, labels)
        with torch.autocast("cpu", torch.bfloat16):
            rough = module.by_user(row, labels)
            loss = module(row, labels, torch.tensor([0.1, 0.2, 0.7]))
    assert loss.item() == pytest.approx((rough[0] * torch.tensor([0.1, 0.2, 0.7])).sum().item(), rel=1e-6)
    assert rough[0].dtype == rough[1].dtype == torch.float32
    assert not torch.equal(rough[1], exact[1])
    assert not torch.equal(rough[1], rough[1].bfloat16().float())  # of bf16 there would be nothing left to round
    torch.testing.assert_close(rough[1], exact[1], rtol=0.1, atol=0.3)
