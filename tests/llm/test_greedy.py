"""The decoding loop: a summary must be the one that transformers writes for its prompt alone, only sooner."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

from tiny import FAMILIES, make_model, make_tokenizer, randomise
from trsr.llm import greedy, grouped_attention
from trsr.llm.chat import ChatFormat
from trsr.llm.greedy import can_decode, decode
from trsr.llm.local import LocalGenerator
from trsr.llm.protocol import Call, Decoding, Piece, Prompt
from trsr.llm.repetition import limit_repetition

HEAD = [(7 * place) % 300 for place in range(20)]
LENGTHS = (3, 28, 6, 1, 17, 17, 4, 25)
PROMPTS = [HEAD + [(11 * place + 5 * row) % 300 for place in range(count)] for row, count in enumerate(LENGTHS)]
STOP = list(range(0, 320, 8))  # so many that rows end at different steps
FREE = limit_repetition(Decoding(24))
SERVED = tuple(name for name in FAMILIES if name != "phi3-longrope")


@pytest.fixture(autouse=True)
def sharing_and_several_passes(monkeypatch):
    monkeypatch.setattr(greedy, "_LEAST_SAVED", 1)
    monkeypatch.setattr(greedy, "_PASS_TOKENS", 48)


def one_at_a_time(model, prompts, count, stop=STOP):
    """What transformers writes."""
    return [
        model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=count,
            eos_token_id=stop,
            pad_token_id=stop[0],
        )[0, len(prompt) :].tolist()
        for prompt in prompts
    ]


def watch(model):
    """The shapes (rows, tokens) of all passes over `model` from now on."""
    shapes = []
    model.register_forward_pre_hook(
        lambda module, inputs, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    return shapes


@pytest.mark.parametrize("family", SERVED)
def test_every_family_writes_what_transformers_writes_for_each_prompt_alone(family):
    model = make_model(family)
    assert can_decode(model)
    assert decode(model, PROMPTS, FREE, 24, STOP) == one_at_a_time(model, PROMPTS, 24)


@pytest.mark.parametrize("most_scores", [0, 600])
def test_long_prompts_go_through_the_flash_kernel_and_bring_the_same(most_scores, monkeypatch):
    model = make_model()
    expected = decode(model, PROMPTS, FREE, 24, STOP)
    monkeypatch.setattr(grouped_attention, "_MOST_SCORES", most_scores)
    assert decode(model, PROMPTS, FREE, 24, STOP) == expected


def test_equal_prompts_and_a_single_one_are_written_too():
    model = make_model()
    (alone,) = one_at_a_time(model, PROMPTS[:1], 24)
    assert decode(model, PROMPTS[:1], FREE, 24, STOP) == [alone]
    assert decode(model, PROMPTS[:1] * 3, FREE, 24, STOP) == [alone] * 3


def test_a_shared_head_is_read_once_and_rows_that_ended_are_computed_no_more():
    model = make_model()
    shapes = watch(model)
    written = decode(model, PROMPTS, FREE, 24, STOP)
    steps = [rows for rows, tokens in shapes if tokens == 1]
    assert shapes[0] == (1, len(HEAD))
    assert sum(rows * tokens for rows, tokens in shapes[1:]) - sum(steps) < sum(LENGTHS) + 3 * max(LENGTHS)
    # the last token of a row is never read, and the shortest rest of a prompt is one token as well
    assert sum(steps) in {sum(len(ids) - 1 for ids in written), sum(len(ids) - 1 for ids in written) + 1}


def test_no_pass_reads_more_than_its_tokens_but_for_one_longer_prompt():
    model = make_model()
    shapes = watch(model)
    decode(model, [*PROMPTS, list(range(1, 91))], FREE, 2, STOP)
    assert [shape for shape in shapes if shape[0] * shape[1] > 48] == [(1, 90)]


def test_the_model_keeps_its_own_attention_also_when_writing_fails():
    model = make_model()

    def fail(*_):
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        decode(model, PROMPTS, fail, 24, STOP)
    assert model.config._attn_implementation == "sdpa"


@settings(deadline=None)
@given(
    ids=st.lists(st.lists(st.integers(0, 4), min_size=12, max_size=12), min_size=1, max_size=4),
    length=st.integers(0, 12),
    penalty=st.sampled_from([1.0, 1.3, 5.0]),
    size=st.integers(0, 4),
)
def test_limits_on_repetition_are_those_of_transformers(ids, length, penalty, size):
    written = torch.tensor(ids)[:, :length]
    scores = torch.randn(len(ids), 6, generator=torch.Generator().manual_seed(length))
    expected = scores.clone()
    if penalty > 1 and length:
        expected = RepetitionPenaltyLogitsProcessor(penalty)(written, expected)
    if size and length:
        expected = NoRepeatNGramLogitsProcessor(size)(written, expected)
    limit = limit_repetition(Decoding(12, repetition_penalty=penalty, no_repeat_ngram=size))
    assert torch.equal(limit(range(len(ids)), written, scores), expected)


def make_other(kind):
    """Tiny models whose cache is not keys and values alone, or that are not told the places of tokens."""
    small = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2}
    special = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if kind == "phi3-longrope":
        return make_model(kind)
    if kind == "bloom":
        return randomise(
            transformers.BloomForCausalLM(transformers.BloomConfig(n_head=4, n_layer=2, **small, **special))
        )
    return randomise(transformers.MambaForCausalLM(transformers.MambaConfig(state_size=4, **small, **special)))


@pytest.mark.parametrize("kind", ["phi3-longrope", "bloom", "mamba"])
def test_a_model_that_the_loop_cannot_serve_is_left_to_transformers(kind):
    tokenizer = make_tokenizer()
    model = make_other(kind)
    assert not can_decode(model)
    generator = LocalGenerator(model, ChatFormat(tokenizer), "tiny@1")
    prompt = Prompt((Piece("Note.", True),), (Piece("green lamps", False),), "This")
    generator.submit([Call("k", prompt, Decoding(12))])
    ((_, made),) = generator.collect()
    ids = generator.chat.encode_prompt(prompt)
    (expected,) = one_at_a_time(model, [ids], 12, generator._stop)
    text = tokenizer.decode([token for token in expected if token not in generator._stop], skip_special_tokens=True)
    assert (made.text, made.tokens_in, made.tokens_out) == (text, len(ids), len(expected))


def test_a_limit_sees_the_rows_that_are_left_and_what_they_wrote():
    """Constraints are by row: those of another prompt would bring in words that its data does not have."""
    model = make_model()
    seen = []

    def limit(rows, written, scores):
        seen.append(dict(zip(rows, written.tolist(), strict=True)))
        return scores

    done = decode(model, PROMPTS, limit, 24, STOP)
    assert len({len(ids) for ids in done}) > 2  # rows leave at different steps
    for step, rows in enumerate(seen):
        assert rows == {row: list(ids[:step]) for row, ids in enumerate(done) if len(ids) > step}
