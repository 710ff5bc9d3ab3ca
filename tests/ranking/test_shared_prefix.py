"""Packed rows against the slow obvious way; if these fail, every ranking is wrong in silence."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_way import (
    CPU,
    assert_same_log_odds,
    engine_scores,
    head_of,
    make_engine,
    make_prompt,
    random_tokens,
    read_prefix,
    row_log_odds,
    slow_log_odds,
    slow_scores,
)

from tiny import make_model
from trsr.errors import ModelError
from trsr.prompts.ranking import RankingPrompt
from trsr.ranking.packing import Layout, Part, PrefixState, Row, Suffixes
from trsr.ranking.shared_prefix import packed_log_odds

MODELS = {
    name: make_model(name, attn_implementation="eager")
    for name in ("llama", "qwen2-window", "gemma2", "gpt_neox", "opt", "mistral-window")
}
lengths = st.lists(st.integers(1, 25), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(
    users=st.lists(st.tuples(st.integers(1, 40), lengths, st.booleans()), min_size=1, max_size=3),
    family=st.sampled_from(sorted(MODELS)),
    path=st.sampled_from(["blocks", "mask"]),
    seed=st.integers(0, 1000),
)
@torch.no_grad()
def test_any_users_in_one_row_score_as_if_each_prompt_ran_alone(users, family, path, seed):
    model, parts, expected = MODELS[family], [], []
    for index, (prefix_length, suffix_lengths, known) in enumerate(users):
        prefix, *suffixes = random_tokens([prefix_length, *suffix_lengths], seed + index)
        state = read_prefix(model, prefix) if known else None
        parts.append(Part(() if known else prefix, suffixes, known=state))
        expected.append(slow_log_odds(model, prefix, suffixes))
    assert_same_log_odds(row_log_odds(model, parts, path), torch.cat(expected))


@settings(max_examples=25, deadline=None)
@given(
    users=st.lists(st.tuples(st.integers(1, 40), lengths), min_size=1, max_size=4),
    family=st.sampled_from(sorted(MODELS)),
    pass_tokens=st.integers(1, 120),
    cached=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_engine_is_exact_for_any_users_and_pass_size(users, family, pass_tokens, cached, seed):
    prompts = [make_prompt(*user, seed=seed + index) for index, user in enumerate(users)]
    engine = make_engine(MODELS[family], "blocks", pass_tokens, cache_bytes=cached * 100_000)
    for scores, prompt in zip(engine_scores(engine, prompts), prompts, strict=True):
        assert_same_log_odds(scores, slow_scores(MODELS[family], prompt))


def test_the_order_of_candidates_does_not_change_their_scores():
    prompt = make_prompt(25, [4, 9, 4, 12, 6])
    backwards = replace(prompt, suffixes=prompt.suffixes[::-1])
    engine = make_engine(MODELS["llama"], pass_tokens=13)
    forward, backward = engine_scores(engine, [prompt, backwards])
    assert_same_log_odds(forward, backward.flip(0), atol=1e-5)


@pytest.mark.parametrize("path", ["blocks", "mask"])
def test_users_beside_a_user_do_not_change_the_scores(path):
    prompt, other = make_prompt(25, [4, 9]), make_prompt(25, [4, 9], seed=1)
    alone, *_ = engine_scores(make_engine(MODELS["llama"], path), [prompt])
    beside, *_ = engine_scores(make_engine(MODELS["llama"], path), [prompt, other])
    assert_same_log_odds(alone, beside, atol=1e-5)


def test_a_row_holds_users_one_after_another_with_places_in_their_prompts():
    row = Row.of([Part([7, 8], [[1, 2], [3]]), Part([9], [[4]])], CPU, "mask")
    assert row.ids.tolist() == [[7, 8, 1, 2, 3, 9, 4]]
    assert row.positions.tolist() == [[0, 1, 2, 3, 2, 0, 1]]
    assert row.ends.tolist() == [3, 4, 6]
    assert row.layout.mask(None)[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]


def test_behind_known_prefixes_positions_go_on_and_only_ones_own_prefix_is_seen():
    parts = [Part((), [[1, 2], [3]], known=PrefixState(3)), Part((), [[4]], known=PrefixState(2))]
    row = Row.of(parts, CPU, "mask")
    assert row.positions.tolist() == [[3, 4, 3, 2]]
    assert row.layout.mask(None)[0, 0].int().tolist() == [
        [1, 1, 1, 0, 0, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1, 0, 0, 0, 1],
    ]


def test_a_sliding_window_counts_places_in_the_prompt_and_not_in_the_row():
    row = Row.of([Part([7, 8, 9], [[1, 2], [3]])], CPU, "mask")
    assert row.layout.mask(2)[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 1, 0, 0, 1],
    ]


@given(lengths)
def test_suffixes_side_by_side_and_back_are_the_same_tokens(sizes):
    tokens = torch.arange(2.0 * sum(sizes)).reshape(1, sum(sizes), 2)
    suffixes = Suffixes.of(sizes, CPU)
    side_by_side = suffixes.spread(tokens)
    assert side_by_side.shape == (1, len(sizes), max(sizes), 2)
    assert torch.equal(suffixes.gather(side_by_side), tokens)
    start = 0
    for index, size in enumerate(sizes):
        own = tokens[0, start : start + size]
        assert torch.equal(side_by_side[0, index], torch.cat([own, own[-1:].expand(max(sizes) - size, 2)]))
        assert suffixes.spread(tokens, fill=False)[0, index, size:].eq(0).all()
        start += size


def test_a_prefix_read_alone_or_with_suffixes_behind_it_is_the_same_state():
    prompt, model = make_prompt(20, [5, 3]), MODELS["llama"]
    with torch.no_grad():
        alone = read_prefix(model, prompt.prefix)
        beside = PrefixState(20)
        row_log_odds(model, [Part([5, 6], [[7]]), Part(prompt.prefix, prompt.suffixes, keep=beside)], "mask")
    assert alone.layers.keys() == beside.layers.keys() == {0, 1}
    for layer, pair in alone.layers.items():
        assert pair[0].shape == (2, 20, 8)
        for one, other in zip(pair, beside.layers[layer], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert alone.nbytes == 2 * 2 * (2 * 20 * 8) * 4


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("path", ["blocks", "mask"])
def test_log_odds_are_fp32_whatever_the_weights_are(half, path):
    # differences below the half precision of a logit would tie candidates (a fault of the published code)
    model = make_model("llama").to(half)
    prompt = make_prompt(25, [4, 4, 4, 4])
    (scores,) = engine_scores(make_engine(model, path), [prompt])
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.to(half).float())
    assert_same_log_odds(scores, slow_scores(MODELS["llama"], prompt), atol=0.2)


def test_broken_weights_end_in_a_sentence_and_not_in_a_ranking():
    model = make_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"^the model gave 2 scores that are not finite numbers; try dtype float32"):
        list(make_engine(model).score([make_prompt(10, [3, 3])]))


@pytest.mark.parametrize("family", ["llama", "mistral-window"])
@pytest.mark.parametrize("failing", [False, True])
def test_the_model_attends_as_before_after_scoring(family, failing):
    # a model left with our attention would write summaries with it
    model, prompt = make_model(family), make_prompt(20, [5, 5])
    alone = torch.tensor([prompt.prefix])
    before = model(input_ids=alone).logits
    if failing:
        with pytest.raises(IndexError):
            list(make_engine(model).score([RankingPrompt((5, 10_000), ((7,),), "", ())]))
    else:
        list(make_engine(model).score([prompt]))
        packed_log_odds(model, head_of(model), prompt.prefix, prompt.suffixes)
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(model(input_ids=alone).logits, before)


# ---- mistakes that the comparison above would notice


def assert_exact_by_mask():
    (scores,) = engine_scores(make_engine(MODELS["llama"], "mask"), [PROMPT])
    assert_same_log_odds(scores, slow_scores(MODELS["llama"], PROMPT))


def assert_exact_by_blocks():
    (scores,) = engine_scores(make_engine(MODELS["llama"], "blocks"), [PROMPT])
    assert_same_log_odds(scores, slow_scores(MODELS["llama"], PROMPT))


PROMPT = make_prompt(20, [5, 3, 5])


def test_suffixes_that_see_each_other_would_be_noticed(monkeypatch):
    monkeypatch.setattr(Layout, "_allowed", lambda self, query, key, window: key <= query)
    with pytest.raises(AssertionError, match="not close"):
        assert_exact_by_mask()


def test_suffixes_side_by_side_in_the_wrong_order_would_be_noticed(monkeypatch):
    plain = Suffixes.of.__func__

    def mixed(cls, sizes, device):
        suffixes = plain(cls, sizes, device)
        return replace(suffixes, places=suffixes.places.roll(1, 0))

    monkeypatch.setattr(Suffixes, "of", classmethod(mixed))
    with pytest.raises(AssertionError, match="not close"):
        assert_exact_by_blocks()


@pytest.mark.parametrize("check", [assert_exact_by_mask, assert_exact_by_blocks])
def test_positions_that_run_on_would_be_noticed(monkeypatch, check):
    check()
    plain = Row.of.__func__

    def running_on(cls, parts, device, path):
        row = plain(cls, parts, device, path)
        return replace(row, positions=torch.arange(row.ids.shape[1])[None])

    monkeypatch.setattr(Row, "of", classmethod(running_on))
    with pytest.raises(AssertionError, match="not close"):
        check()


def test_a_prefix_of_another_user_would_be_noticed():
    model = MODELS["llama"]
    with torch.no_grad():
        stranger = read_prefix(model, make_prompt(20, [], seed=9).prefix)
        values = row_log_odds(model, [Part((), PROMPT.suffixes, known=stranger)], "blocks")
    with pytest.raises(AssertionError, match="not close"):
        assert_same_log_odds(values, slow_scores(model, PROMPT))
