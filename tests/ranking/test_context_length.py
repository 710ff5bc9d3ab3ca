"""Prompts up to the last token that a model reads are scored exactly; longer ones are one sentence, not a ranking."""

import pytest
import torch
from slow_way import assert_same_log_odds, engine_scores, make_engine, make_prompt, row_log_odds, slow_scores

from tiny import make_model, make_tokenizer, save_folder
from trsr.config import PromptConfig, RankerConfig
from trsr.errors import ConfigError
from trsr.ranking.families import check_length, prompt_limit
from trsr.ranking.packing import Part
from trsr.ranking.ranker import Ranker

ORIGINAL, EXTENDED = 64, 512
ROPE = {"rope_theta": 10000.0, "factor": 8.0}
FIXED_ROPES = {
    "yarn": {**ROPE, "rope_type": "yarn", "original_max_position_embeddings": ORIGINAL},
    "linear": {**ROPE, "rope_type": "linear"},
    "llama3": {
        **ROPE,
        "rope_type": "llama3",
        "original_max_position_embeddings": ORIGINAL,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
}
DYNAMIC = {**ROPE, "rope_type": "dynamic"}
TWO_ROPES = {"full_attention": DYNAMIC, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.5, 2.0, 3.0],
    "long_factor": [4.0, 6.0, 8.0, 12.0],
    "original_max_position_embeddings": ORIGINAL,
}


def make_long(rope, family="llama", **more):
    settings = {"max_position_embeddings": EXTENDED, "attn_implementation": "eager"} | more
    return make_model(family, rope_parameters=rope, **settings)


def assert_exact(model, prompt, pass_tokens=128):
    expected = slow_scores(model, prompt)
    assert expected.std() > 0.1
    with torch.no_grad():
        for path in ("blocks", "mask"):
            assert_same_log_odds(row_log_odds(model, [Part(prompt.prefix, prompt.suffixes)], path), expected)
    (scores,) = engine_scores(make_engine(model, pass_tokens=pass_tokens), [prompt])
    assert_same_log_odds(scores, expected)


def message(config, tokens):
    with pytest.raises(ConfigError) as error:
        check_length(config, tokens, "here")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", FIXED_ROPES)
def test_ropes_that_are_stretched_once_and_for_all_are_exact_past_their_original_length(name):
    model = make_long(FIXED_ROPES[name])
    plain = make_long({"rope_type": "default", "rope_theta": 10000.0})
    prompt = make_prompt(3 * ORIGINAL, [5, 40, 1, 40])
    assert (slow_scores(model, prompt) - slow_scores(plain, prompt)).abs().max() > 0.1
    assert prompt_limit(model.config).tokens == EXTENDED
    assert_exact(model, prompt)


def test_the_two_ropes_of_gemma_3_are_exact_past_their_original_length():
    ropes = {
        "full_attention": FIXED_ROPES["yarn"],
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    }
    model = make_long(ropes, "gemma3")
    assert prompt_limit(model.config).tokens == EXTENDED
    assert_exact(model, make_prompt(3 * ORIGINAL, [5, 40, 1, 40]))


@pytest.mark.parametrize(
    ("family", "rope", "more"),
    [
        ("llama", DYNAMIC, {"max_position_embeddings": ORIGINAL}),
        ("llama", {**DYNAMIC, "original_max_position_embeddings": ORIGINAL}, {}),
        ("llama", LONGROPE, {}),
        ("phi3-longrope", LONGROPE, {"original_max_position_embeddings": ORIGINAL}),
        ("gemma3", TWO_ROPES, {"max_position_embeddings": ORIGINAL}),
    ],
    ids=["dynamic", "dynamic-extended", "longrope", "phi3-longrope", "gemma3-dynamic"],
)
def test_ropes_that_change_with_the_length_are_exact_up_to_it_and_refused_beyond(family, rope, more):
    model = make_long(rope, family, **more)
    assert prompt_limit(model.config).tokens == ORIGINAL
    assert_exact(model, make_prompt(ORIGINAL - 24, [24, 3, 7]))
    engine = make_engine(model)
    with pytest.raises(ConfigError, match=f"^a prompt of {ORIGINAL + 1} tokens: this .* of {ORIGINAL} tokens; lower"):
        list(engine.score([make_prompt(ORIGINAL - 24, [3, 25])]))


@pytest.mark.parametrize("rope", [DYNAMIC, LONGROPE], ids=["dynamic", "longrope"])
def test_beyond_their_length_such_ropes_would_give_other_scores(rope):
    # the reason for the refusal: candidates of one user would no longer see the same prefix
    more = {"max_position_embeddings": ORIGINAL} if rope is DYNAMIC else {}
    model = make_long(rope, **more)
    prompt = make_prompt(ORIGINAL - 8, [3, 30])
    with torch.no_grad():
        together = row_log_odds(model, [Part(prompt.prefix, prompt.suffixes)], "blocks")
    model = make_long(rope, **more)
    assert (together - slow_scores(model, prompt)).abs().max() > 0.01


@pytest.mark.parametrize("rope", [DYNAMIC, LONGROPE], ids=["dynamic", "longrope"])
def test_a_long_text_read_before_by_the_same_model_does_not_change_scores(rope):
    # the same weights may write summaries from longer prompts
    model = make_long(rope, **({"max_position_embeddings": ORIGINAL} if rope is DYNAMIC else {}))
    prompt = make_prompt(30, [5, 9])
    expected = slow_scores(model, prompt)
    slow_scores(model, make_prompt(3 * ORIGINAL, [1]))
    (scores,) = engine_scores(make_engine(model), [prompt])
    assert_same_log_odds(scores, expected)


def test_the_limit_is_named_for_what_it_is():
    model = make_long(LONGROPE)
    assert message(model.config, ORIGINAL + 1) == (
        "here: this llama model has a rotary embedding that changes beyond its length, of 64 tokens; lower "
        "prompt.max_tokens or take another model"
    )
    assert "has a context of 8192 tokens" in message(make_model("llama").config, 8193)
    check_length(make_model("llama").config, 8192, "here")


def test_a_window_of_a_family_that_was_never_tried_bounds_its_prompts():
    config = make_model("mixtral", sliding_window=16).config
    assert prompt_limit(config).tokens == 16
    assert "this mixtral model has a sliding window of 16 tokens" in message(config, 17)


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "opt", "gpt2", "gemma2"])
def test_a_prompt_of_exactly_the_context_is_exact_and_one_more_is_refused(family):
    model = make_model(family, max_position_embeddings=64)
    assert_exact(model, make_prompt(50, [14, 1, 13]))
    engine = make_engine(model)
    with pytest.raises(ConfigError, match=r"^a prompt of 65 tokens: this \w+ model has a context of 64 tokens; lower"):
        list(engine.score([make_prompt(50, [15])]))
    with pytest.raises(ConfigError, match=r"^a prompt of 65 tokens"):
        list(engine.score([make_prompt(64, [1])]))


@pytest.mark.parametrize(
    ("family", "changes", "limit", "what"),
    [
        ("llama", {"max_position_embeddings": 128}, 128, "context"),
        ("llama", {"rope_parameters": LONGROPE}, ORIGINAL, "rotary embedding that changes beyond its length,"),
        ("llama", {"rope_parameters": DYNAMIC, "max_position_embeddings": 256}, 256, None),
        ("mixtral", {"sliding_window": 100}, 100, "sliding window"),
    ],
)
def test_a_prompt_budget_beyond_what_the_model_reads_is_refused_before_any_work(tmp_path, family, changes, limit, what):
    folder = save_folder(tmp_path / "model", make_model(family, **changes), make_tokenizer())
    config = RankerConfig(base=str(folder), dtype="float32")
    with pytest.raises(ConfigError) as error:
        Ranker.from_base(config, PromptConfig(max_tokens=limit + 1), ["title"])
    assert str(error.value).startswith(f"prompt.max_tokens {limit + 1}: this {family} model has a ")
    assert what is None or f"has a {what} of {limit} tokens" in str(error.value)
    assert Ranker.from_base(config, PromptConfig(max_tokens=limit), ["title"]).prompt.max_tokens == limit


@pytest.mark.parametrize("prefix", [1, 2])
@pytest.mark.parametrize("suffixes", [[1], [1, 1, 1], [1, 9, 2]])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mistral-window"])
def test_the_shortest_prefixes_and_suffixes_are_exact(family, prefix, suffixes):
    model = make_model(family)
    prompt = make_prompt(prefix, suffixes)
    expected = slow_scores(model, prompt)
    for pass_tokens in (1, 4096):
        (scores,) = engine_scores(make_engine(model, pass_tokens=pass_tokens), [prompt])
        assert_same_log_odds(scores, expected)
