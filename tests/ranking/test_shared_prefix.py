"""Shared-prefix scores and gradients against the slow obvious way; if these fail, every ranking is wrong in silence."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tiny import FAMILIES, make_model
from trsr.config import TrainingConfig
from trsr.errors import ModelError
from trsr.ranking.attention import supports_blocks
from trsr.ranking.shared_prefix import AnswerHead, Pack, packed_log_odds, passes, score
from trsr.ranking.training import add_lora

YES, NO = 257, 258
MODELS = {family: make_model(family) for family in FAMILIES}


def random_tokens(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 300, (length,), generator=generator).tolist() for length in lengths]


def slow_log_odds(model, prefix, suffixes):
    """Every full prompt alone through the whole model, all logits, the last position."""
    last = [model(input_ids=torch.tensor([prefix + suffix])).logits[0, -1] for suffix in suffixes]
    return torch.stack([logits[YES] - logits[NO] for logits in last])


def head_of(model):
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return AnswerHead.of(base, YES, NO)


def check_exact(model, prefix_length, suffix_lengths, pass_tokens, seed=0):
    prefix, *suffixes = random_tokens([prefix_length, *suffix_lengths], seed)
    with torch.no_grad():
        expected = slow_log_odds(model, prefix, suffixes)
        packed = packed_log_odds(model, head_of(model), prefix, suffixes)
    scored = score(model, head_of(model), prefix, suffixes, pass_tokens)
    assert len(suffixes) == 1 or expected.std() > 0.1  # else agreement would say little
    torch.testing.assert_close(scored, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(packed, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_ragged_candidates_score_as_if_each_prompt_ran_alone(family):
    check_exact(MODELS[family], prefix_length=50, suffix_lengths=[5, 1, 9, 30, 2], pass_tokens=1024)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_candidate_scores_as_its_prompt_alone(family):
    check_exact(MODELS[family], prefix_length=17, suffix_lengths=[7], pass_tokens=1024)


@pytest.mark.parametrize("family", FAMILIES)
def test_many_candidates_over_several_passes_score_as_if_each_ran_alone(family):
    check_exact(MODELS[family], prefix_length=40, suffix_lengths=[3 + n % 11 for n in range(40)], pass_tokens=24)


@settings(max_examples=25, deadline=None)
@given(
    prefix=st.integers(1, 60),
    suffixes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    pass_tokens=st.integers(1, 80),
    family=st.sampled_from(FAMILIES),
    seed=st.integers(0, 1000),
)
def test_exact_for_any_lengths(prefix, suffixes, pass_tokens, family, seed):
    tokens = random_tokens([prefix, *suffixes], seed)
    with torch.no_grad():
        expected = slow_log_odds(MODELS[family], tokens[0], tokens[1:])
        packed = packed_log_odds(MODELS[family], head_of(MODELS[family]), tokens[0], tokens[1:])
    scored = score(MODELS[family], head_of(MODELS[family]), tokens[0], tokens[1:], pass_tokens)
    torch.testing.assert_close(scored, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(packed, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_neox", "gemma"])
def test_packed_training_gives_the_gradients_of_separate_rows(family):
    model = add_lora(make_model(family), TrainingConfig(lora_dropout=0.0))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:  # LoRA starts at zero, where half of the gradients vanish
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    prefix, *suffixes = random_tokens([30, 4, 11, 7])
    labels = torch.tensor([0.0, 1.0, 0.0])

    def gradients(log_odds):
        # a loss in which candidates meet, so that each gradient depends on all of them
        loss = functional.binary_cross_entropy_with_logits(log_odds, labels) - torch.log_softmax(log_odds, 0)[1]
        model.zero_grad()
        loss.backward()
        return {name: value.grad.clone() for name, value in model.named_parameters() if value.requires_grad}

    packed = gradients(packed_log_odds(model, head_of(model), prefix, suffixes))
    separate = gradients(slow_log_odds(model, prefix, suffixes))
    assert len(packed) >= 4
    for name, gradient in separate.items():
        assert gradient.norm() > 0
        assert (packed[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_the_order_of_candidates_does_not_change_their_scores():
    prefix, *suffixes = random_tokens([25, 4, 9, 4, 12, 6])
    model = MODELS["llama"]
    forward = score(model, head_of(model), prefix, suffixes, pass_tokens=13)
    backward = score(model, head_of(model), prefix, suffixes[::-1], pass_tokens=13)
    torch.testing.assert_close(forward, backward.flip(0), atol=1e-5, rtol=0)


def test_the_number_of_passes_does_not_change_scores():
    prefix, *suffixes = random_tokens([25, *[6] * 12])
    model = MODELS["qwen3"]
    together = score(model, head_of(model), prefix, suffixes, pass_tokens=1000)
    alone = score(model, head_of(model), prefix, suffixes, pass_tokens=1)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_the_prefix_is_read_once_however_many_passes_there_are(monkeypatch):
    model = make_model("llama")
    read = []
    decoder = model.get_decoder()
    forward = decoder.forward

    def counting(*args, **kwargs):
        read.append(kwargs["input_ids"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(decoder, "forward", counting)
    prefix, *suffixes = random_tokens([25, 6, 6, 6])
    score(model, head_of(model), prefix, suffixes, pass_tokens=12)
    assert read == [25, 12, 6]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_log_odds_are_fp32_whatever_the_weights_are(half):
    # differences below the half precision of a logit would tie candidates (a fault of the published code)
    model = make_model("llama").to(half)
    prefix, *suffixes = random_tokens([25, 4, 4, 4, 4])
    scores = score(model, head_of(model), prefix, suffixes)
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.to(half).float())


def test_broken_weights_end_in_a_sentence_and_not_in_a_ranking():
    model = make_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    prefix, *suffixes = random_tokens([10, 3, 3])
    with pytest.raises(ModelError, match="2 scores that are not finite numbers; try dtype float32"):
        score(model, head_of(model), prefix, suffixes)


def test_the_mask_shows_each_suffix_the_prefix_and_itself():
    pack = Pack.of([7, 8], [[1, 2], [3]], offset=0, device=torch.device("cpu"))
    assert pack.ids.tolist() == [[7, 8, 1, 2, 3]]
    assert pack.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert pack.ends.tolist() == [3, 4]
    assert pack.mask(cached=0)[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_behind_a_cache_positions_go_on_and_all_of_the_cache_is_seen():
    pack = Pack.of([], [[1, 2], [3]], offset=4, device=torch.device("cpu"))
    assert pack.positions.tolist() == [[4, 5, 4]]
    assert pack.mask(cached=2)[0, 0].int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


def test_suffixes_that_see_each_other_would_be_noticed(monkeypatch):
    def causal_only(self, cached):
        length = self.ids.shape[1]
        return torch.ones(length, cached + length, dtype=torch.bool).tril(cached)[None, None]

    monkeypatch.setattr(Pack, "mask", causal_only)
    with pytest.raises(AssertionError, match="not close"):
        check_exact(MODELS["gemma"], 20, [5, 5], pass_tokens=1024)


def test_blocks_that_show_a_token_of_another_suffix_would_be_noticed(monkeypatch):
    plain = Pack.blocks

    def mixed(self):
        blocks = plain(self)
        slots = blocks.slots.clone()
        slots[:, 0] = slots[0, 0]
        return replace(blocks, slots=slots)

    monkeypatch.setattr(Pack, "blocks", mixed)
    with pytest.raises(AssertionError, match="not close"):
        check_exact(MODELS["llama"], 20, [5, 5], pass_tokens=1024)


def test_families_by_block_and_by_mask_are_both_among_those_tested():
    assert {family: supports_blocks(MODELS[family].config) for family in FAMILIES} == {
        **dict.fromkeys(FAMILIES, True),
        "gemma": False,
    }


def test_the_model_attends_as_before_after_scoring():
    # a model left with our attention would write summaries with it
    prefix, *suffixes = random_tokens([20, 5, 5])
    model = make_model("llama")
    before = model(input_ids=torch.tensor([prefix])).logits
    score(model, head_of(model), prefix, suffixes)
    packed_log_odds(model, head_of(model), prefix, suffixes)
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(model(input_ids=torch.tensor([prefix])).logits, before)


def test_positions_that_run_on_would_be_noticed(monkeypatch):
    plain = Pack.of.__func__

    def running_on(cls, prefix, suffixes, offset, device):
        pack = plain(cls, prefix, suffixes, offset, device)
        return cls(pack.ids, offset + torch.arange(pack.ids.shape[1])[None], pack.owner, pack.ends)

    monkeypatch.setattr(Pack, "of", classmethod(running_on))
    with pytest.raises(AssertionError, match="not close"):
        check_exact(MODELS["llama"], 20, [5, 5], pass_tokens=1024)


@given(lengths=st.lists(st.integers(1, 30), max_size=20), pass_tokens=st.integers(1, 60))
def test_passes_keep_order_and_bound_memory(lengths, pass_tokens):
    suffixes = [[index] * length for index, length in enumerate(lengths)]
    groups = list(passes(suffixes, pass_tokens))
    assert [suffix for group in groups for suffix in group] == suffixes
    assert all(len(group) == 1 or sum(map(len, group)) <= pass_tokens for group in groups)
