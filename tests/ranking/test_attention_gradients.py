"""Training on a packed row moves the weights as training on separate prompts would."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from slow_way import CPU, head_of, random_tokens, row_log_odds, slow_log_odds
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from tiny import FAMILIES, WINDOW, make_model
from trsr.ranking.attention import _SuffixAttention
from trsr.ranking.packing import Group, Part, Suffixes

PREFIXES, LENGTHS = (45, 20), ([4, 30, 1, 11], [7, 7])


def add_random_lora(model, seed=1):
    """LoRA on every linear layer, with no zeros in it: at the start half of the gradients would vanish."""
    names = {
        name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))
    }
    gpt2 = model.config.model_type == "gpt2"
    targets = sorted(names - {"lm_head", "embed_out"})
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets, fan_in_fan_out=gpt2))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.1, generator=generator)
    return tuned.eval()


def gradients(model, log_odds):
    """Of a loss in which all candidates meet, so that each gradient depends on all of them."""
    labels = (torch.arange(len(log_odds)) % 3 == 1).float()
    loss = functional.binary_cross_entropy_with_logits(log_odds, labels) - torch.log_softmax(log_odds, 0)[1]
    model.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def make_users(seed=0):
    tokens = iter(random_tokens([*PREFIXES, *LENGTHS[0], *LENGTHS[1]], seed))
    prefixes = [next(tokens) for _ in PREFIXES]
    return [(prefix, [next(tokens) for _ in lengths]) for prefix, lengths in zip(prefixes, LENGTHS, strict=True)]


@pytest.fixture(scope="module", params=FAMILIES)
def tuned(request):
    return add_random_lora(make_model(request.param, attn_implementation="eager"))


@pytest.fixture(scope="module")
def separate(tuned):
    """Gradients of every full prompt alone; prompts are longer than the sliding windows."""
    assert min(PREFIXES) > WINDOW
    return gradients(tuned, torch.cat([slow_log_odds(tuned, *user) for user in make_users()]))


@pytest.mark.parametrize("path", ["blocks", "mask"])
def test_a_packed_row_of_several_users_gives_the_gradients_of_separate_rows(tuned, separate, path):
    parts = [Part(prefix, suffixes) for prefix, suffixes in make_users()]
    packed = gradients(tuned, row_log_odds(tuned, parts, path))
    assert len(separate) >= 8
    assert packed.keys() == separate.keys()
    for name, gradient in separate.items():
        assert gradient.norm() > 0, name
        assert (packed[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


@pytest.mark.parametrize("family", ["llama", "mistral-window", "gemma2"])
def test_flexible_attention_gives_the_same_gradients(family):
    # on a CPU it has no backward pass; who asked for it and trains there must get gradients all the same
    model = add_random_lora(make_model(family, attn_implementation="eager"))
    (prefix, suffixes), _ = make_users()
    packed = gradients(model, row_log_odds(model, [Part(prefix, suffixes)], "flex"))
    for name, gradient in gradients(model, slow_log_odds(model, prefix, suffixes)).items():
        assert (packed[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_tuned_output_head_gets_its_gradient(family):
    model = make_model(family, attn_implementation="eager", tie_word_embeddings=False)
    (prefix, suffixes), _ = make_users()
    packed = gradients(model, row_log_odds(model, [Part(prefix, suffixes)], "blocks"))
    separate = gradients(model, slow_log_odds(model, prefix, suffixes))
    assert head_of(model).weight.requires_grad
    for name, gradient in separate.items():
        assert (packed[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


LAYOUTS = {"ragged": [3, 1, 4], "equal": [3, 3], "one": [4], "single tokens": [1, 1, 1]}


def attention_inputs(lengths, prefix, size=3, value_size=3):
    generator = torch.Generator().manual_seed(3)
    tokens = sum(lengths)
    shapes = [
        (2, 2, tokens, size),
        (2, prefix, size),
        (2, prefix, value_size),
        (2, tokens, size),
        (2, tokens, value_size),
    ]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def hidden_by_window(lengths, prefix, window):
    group = Group(
        Part(range(prefix), [range(length) for length in lengths]),
        0,
        prefix,
        prefix + sum(lengths),
        Suffixes.of(lengths, CPU),
    )
    return None if window is None else group.outside(window, CPU)


@pytest.mark.parametrize("window", [None, 1, 2, 5])
@pytest.mark.parametrize("prefix", [1, 4])
@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
def test_the_backward_pass_written_by_hand_is_the_derivative_of_the_forward_pass(lengths, prefix, window):
    suffixes, hidden = Suffixes.of(lengths, CPU), hidden_by_window(lengths, prefix, window)
    assert (hidden is not None) == (window is not None and prefix + max(lengths) > window)

    def attend(*inputs):
        return _SuffixAttention.apply(*inputs, suffixes, hidden, 0.7)

    assert torch.autograd.gradcheck(attend, attention_inputs(lengths, prefix), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("window", [None, 1, 3, 6])
@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
def test_attention_by_hand_is_plain_attention_of_every_prompt(lengths, window):
    prefix, scale = 5, 0.7
    query, before_key, before_value, key, value = attention_inputs(lengths, prefix, value_size=4)
    hidden = hidden_by_window(lengths, prefix, window)
    output = _SuffixAttention.apply(
        query, before_key, before_value, key, value, Suffixes.of(lengths, CPU), hidden, scale
    )
    assert output.shape == (2, 2, sum(lengths), 4)
    start = 0
    for length in lengths:
        here = slice(start, start + length)
        keys, values = torch.cat([before_key, key[:, here]], 1), torch.cat([before_value, value[:, here]], 1)
        place = torch.arange(prefix, prefix + length)[:, None]
        seen = torch.arange(prefix + length)[None] <= place
        if window is not None:
            seen &= torch.arange(prefix + length)[None] > place - window
        scores = (query[:, :, here] @ keys[:, None].mT * scale).masked_fill(~seen, -torch.inf)
        torch.testing.assert_close(output[:, :, here], scores.softmax(-1) @ values[:, None])
        start += length
