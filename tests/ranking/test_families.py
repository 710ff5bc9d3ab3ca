"""Every family of models scores exactly behind a shared prefix, or is refused by name with what to use instead."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from slow_way import (
    NO,
    PATHS,
    YES,
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

from tiny import FAMILIES, WINDOW, WINDOWED, make_model, make_tokenizer, save_folder
from trsr.config import PromptConfig, RankerConfig
from trsr.errors import ModelError
from trsr.ranking import families
from trsr.ranking.families import INSTEAD, check_exact, check_family, prompt_limit
from trsr.ranking.packing import Part
from trsr.ranking.ranker import Ranker
from trsr.ranking.shared_prefix import packed_log_odds

# uncompiled FlexAttention is slow: it is compared where windows, capped scores or positions are special
FLEX = ("llama", "mistral-window", "qwen2-window", "gemma2", "gemma3", "phi3-longrope", "gpt2")
uncompiled = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    """A model of every family, attending in the plain eager way whenever it runs alone."""
    return make_model(family, attn_implementation="eager")


@pytest.fixture
def paths(family):
    return PATHS if family in FLEX else PATHS[:2]


@pytest.fixture(scope="module")
def users(model):
    """Two users, prefix and suffixes, with the log-odds of every full prompt alone."""
    prefix, other, *suffixes = random_tokens([50, 33, 5, 1, 9, 30, 2, 17, 4])
    with torch.no_grad():
        first, second = slow_log_odds(model, prefix, suffixes[:5]), slow_log_odds(model, other, suffixes[5:])
    assert first.std() > 0.2  # else agreement would say little
    return (prefix, suffixes[:5], first), (other, suffixes[5:], second)


@uncompiled
@torch.no_grad()
def test_ragged_candidates_score_as_if_each_prompt_ran_alone(model, users, paths):
    (prefix, suffixes, expected), _ = users
    for path in paths:
        assert_same_log_odds(packed_log_odds(model, head_of(model), prefix, suffixes, path), expected)


@uncompiled
@torch.no_grad()
def test_users_beside_each_other_score_as_if_alone_with_prefixes_in_the_row_and_known(model, users, paths):
    (prefix, suffixes, expected), (other, others, expected_others) = users
    for path in paths:
        known = read_prefix(model, prefix, path)
        parts = [Part(other, others), Part((), suffixes, known=known), Part(prefix, suffixes[:2]), Part(prefix, ())]
        values = row_log_odds(model, parts, path)
        assert_same_log_odds(values, torch.cat([expected_others, expected, expected[:2]]))


def test_the_engine_in_many_passes_scores_as_if_each_prompt_ran_alone(model, users):
    prompts = [make_prompt(50, [3 + n % 7 for n in range(9)], seed=1), make_prompt(21, [6, 1], seed=2)]
    engine = make_engine(model, "blocks", pass_tokens=64)
    for scores, prompt in zip(engine_scores(engine, prompts), prompts, strict=True):
        assert_same_log_odds(scores, slow_scores(model, prompt))
    assert engine.report.passes > 2


def test_the_check_of_new_models_lets_every_family_pass(model):
    for path in ("blocks", "mask"):
        check_exact(model, head_of(model), (YES, NO), path)


@pytest.mark.parametrize("name", WINDOWED)
def test_what_lies_behind_a_sliding_window_matters_in_these_tests(name):
    # without the window these models score otherwise: prompts here are long enough to notice a wrong one
    whole = make_model(name, sliding_window=4096, attn_implementation="eager")
    narrow = make_model(name, attn_implementation="eager")
    prompt = make_prompt(50, [5, 9, 30])
    assert len(prompt.prefix) > 2 * WINDOW
    assert (slow_scores(whole, prompt) - slow_scores(narrow, prompt)).abs().max() > 0.1


@uncompiled
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("lengths", [[WINDOW], [1, 1], [WINDOW - 1, 2], [3 * WINDOW, 1], [WINDOW + 1] * 3])
@pytest.mark.parametrize("prefix", [1, WINDOW - 1, WINDOW, WINDOW + 1])
def test_the_edges_of_a_sliding_window_are_where_the_model_has_them(prefix, lengths, path):
    model = make_model("mistral-window", attn_implementation="eager")
    prompt = make_prompt(prefix, lengths)
    with torch.no_grad():
        known = read_prefix(model, prompt.prefix, path)
        parts = [Part(prompt.prefix, prompt.suffixes), Part((), prompt.suffixes, known=known)]
        values = row_log_odds(model, parts, path)
    assert_same_log_odds(values, slow_scores(model, prompt).repeat(2))


@pytest.mark.parametrize("name", WINDOWED)
def test_a_sliding_window_does_not_bound_prompts_of_these_families(name):
    assert prompt_limit(make_model(name).config).tokens == 8192


# ---- families that are refused

_PLAIN = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_STATE = "carry a state from token to token, which candidates behind one prefix cannot share"
_OWN_WAY = "compute attention in a way of their own"
_ALIBI = "weigh tokens by their distance in the row (ALiBi)"


def refusal(model):
    with pytest.raises(ModelError) as error:
        check_exact(model, head_of(model), (YES, NO), "blocks")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("stem", "more", "name", "reason"),
    [
        ("Bloom", {}, "bloom", _ALIBI),
        ("Mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}, "mpt", _ALIBI),
        ("Falcon", {"alibi": True}, "falcon", _ALIBI),
        ("Falcon", {"alibi": False}, "falcon", _OWN_WAY),
        ("StableLm", {}, "stablelm", _OWN_WAY),
        ("Nemotron", {}, "nemotron", _OWN_WAY),
        ("GPTJ", {"n_embd": 32, "n_head": 4, "rotary_dim": 4}, "gptj", _OWN_WAY),
        (
            "GptOss",
            {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
            "gpt_oss",
            "have attention sinks, which are not supported",
        ),
        ("DiffLlama", {}, "diffllama", "are not scored exactly behind a shared prefix"),
    ],
)
def test_models_that_add_something_to_attention_are_refused_by_name(stem, more, name, reason):
    config = getattr(transformers, f"{stem}Config")(**(_PLAIN | more))
    model = getattr(transformers, f"{stem}ForCausalLM")(config).eval()
    assert refusal(model) == f"{name} models {reason}; {INSTEAD}"


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("Mamba", "mamba"),
        ("Mamba2", "mamba2"),
        ("FalconMamba", "falcon_mamba"),
        ("Jamba", "jamba"),
        ("Bamba", "bamba"),
        ("Zamba", "zamba"),
        ("Zamba2", "zamba2"),
        ("FalconH1", "falcon_h1"),
        ("Qwen3Next", "qwen3_next"),
        ("RecurrentGemma", "recurrent_gemma"),
        ("GraniteMoeHybrid", "granitemoehybrid"),
        ("Lfm2", "lfm2"),
        ("NemotronH", "nemotron_h"),
        ("Rwkv", "rwkv"),
    ],
)
def test_models_that_carry_a_state_are_refused_by_name(stem, name):
    model = SimpleNamespace(config=getattr(transformers, f"{stem}Config")(), _supports_attention_backend=True)
    with pytest.raises(ModelError) as error:
        check_family(model)
    assert str(error.value) == f"{name} models {_STATE}; {INSTEAD}"


@pytest.mark.parametrize(
    ("stem", "name", "reason"),
    [
        ("Llama4Text", "llama4_text", "have layers that are neither full nor sliding attention (chunked_attention)"),
        ("Qwen3_5Text", "qwen3_5_text", "have layers that are neither full nor sliding attention (linear_attention)"),
    ],
)
def test_models_with_other_layers_are_refused_by_name(stem, name, reason):
    model = SimpleNamespace(config=getattr(transformers, f"{stem}Config")(), _supports_attention_backend=True)
    with pytest.raises(ModelError) as error:
        check_family(model)
    assert str(error.value) == f"{name} models {reason}; {INSTEAD}"


def test_a_model_that_sees_later_tokens_is_refused_by_name():
    model = make_model("gemma3")
    model.config.use_bidirectional_attention = True
    assert refusal(model) == f"gemma3_text models let tokens see later ones; {INSTEAD}"


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: logits * 1.5,
        lambda logits: 5 * torch.tanh(logits / 5),
        lambda logits: logits + torch.arange(logits.shape[-1]) * 0.01,
    ],
    ids=["scaled", "capped", "biased"],
)
def test_logits_changed_behind_the_head_in_an_unknown_way_are_noticed(monkeypatch, change):
    model = make_model("llama")
    forward = model.lm_head.forward
    monkeypatch.setattr(model.lm_head, "forward", lambda hidden: change(forward(hidden)))
    assert refusal(model) == f"llama models are not scored exactly behind a shared prefix; {INSTEAD}"


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_changed_logits_are_noticed_in_half_precision_and_plain_ones_pass(monkeypatch, half):
    model = make_model("llama").to(half)
    check_exact(model, head_of(model), (YES, NO), "blocks")
    forward = model.lm_head.forward
    monkeypatch.setattr(model.lm_head, "forward", lambda hidden: forward(hidden) * 1.5)
    assert "llama models are not scored exactly" in refusal(model)


def test_an_error_inside_a_strange_model_is_one_sentence_with_its_first_line(monkeypatch):
    model = make_model("llama")

    def fail(*args, **kwargs):
        raise ValueError("no such thing\nas this")

    monkeypatch.setattr(model.get_decoder(), "forward", fail)
    assert refusal(model) == f"llama models cannot share a prefix here (no such thing); {INSTEAD}"


def test_memory_that_runs_out_in_the_check_is_not_blamed_on_the_family(monkeypatch):
    model = make_model("llama")

    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.get_decoder(), "forward", fail)
    with pytest.raises(torch.OutOfMemoryError):
        check_exact(model, head_of(model), (YES, NO), "blocks")


@pytest.mark.parametrize("attention", ["auto", "measure"])
def test_a_ranker_is_refused_before_any_prompt_when_its_family_is(tmp_path, attention):
    config = transformers.BloomConfig(vocab_size=320, hidden_size=32, n_layer=2, n_head=4)
    folder = save_folder(tmp_path / "model", transformers.BloomForCausalLM(config), make_tokenizer())
    config = RankerConfig(base=str(folder), dtype="float32", attention=attention)
    with pytest.raises(ModelError, match=r"^bloom models weigh tokens by their distance in the row \(ALiBi\); take a"):
        Ranker.from_base(config, PromptConfig(), ["title"])


@pytest.mark.parametrize("name", ["gemma", "gemma2", "gemma3", "mistral-window", "opt", "gpt2"])
def test_a_folder_of_a_supported_family_becomes_a_ranker(tmp_path, name):
    folder = save_folder(tmp_path / "model", make_model(name))
    ranker = Ranker.from_base(RankerConfig(base=str(folder), dtype="float32"), PromptConfig(), ["title"])
    ranked = ranker.rank([{"title": "Whales"}], [{"title": "Sea birds"}, {"title": "Green lamps"}])
    prompts = ranker.prompts({"h": {"title": "Whales"}, "a": {"title": "Sea birds"}, "b": {"title": "Green lamps"}})
    expected = slow_scores(ranker.model, prompts.build("", ["h"], ["a", "b"]))
    actual = torch.tensor([entry.log_odds for entry in sorted(ranked, key=lambda entry: entry.index)])
    assert_same_log_odds(actual, expected)


def test_families_named_as_what_to_use_instead_are_tested_here():
    tested = {make_model(name).config.model_type for name in FAMILIES}
    assert {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "smollm3"} <= tested
    assert {"gpt_neox", "opt", "gpt2"} <= tested
    assert tested >= families._WINDOWED
