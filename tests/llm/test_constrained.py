"""Constrained decoding keeps its promises whatever the model would rather write, on every kind of tokenizer."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_kinds import KINDS, TEXTS

from tiny import make_model
from trsr.errors import ConfigError, ModelError
from trsr.llm.chat import ChatFormat
from trsr.llm.constrained import constrain
from trsr.llm.local import LocalGenerator
from trsr.llm.protocol import Call, Decoding, Piece, Prompt
from trsr.llm.repetition import limit_repetition
from trsr.llm.vocabulary import read_vocabulary
from trsr.llm.words import content_words, words

FORM = ("likes", "topics", "recently")
TEMPLATE = "Note what a reader likes, in a line or two. Books such as these:"
prompts_of = st.lists(st.sampled_from([*TEXTS, "ships", "Öl & Übermut 7 naïve 海"]), min_size=1, max_size=2).map(
    lambda texts: Prompt((Piece(TEMPLATE, True),), tuple(Piece(text, False) for text in texts), "Such as")
)

FREE = limit_repetition(Decoding(8))


@cache
def chat_of(kind):
    return ChatFormat(KINDS[kind]())


def write(chat, prompts, decoding, seed, stop_bias=0.0):
    """What a model would write that draws its scores at random: the hardest one to keep in bounds."""
    generator = torch.Generator().manual_seed(seed)
    stop = [chat.tokenizer.eos_token_id]
    rows = range(len(prompts))
    ids = torch.zeros(len(rows), 0, dtype=torch.long)
    limit = constrain(FREE, prompts, decoding, chat, stop)
    ended = torch.zeros(len(rows), dtype=torch.bool)
    for _ in range(decoding.max_new_tokens):
        scores = torch.randn((len(rows), len(chat.tokenizer) + 3), generator=generator)
        scores[:, stop] += stop_bias
        scores = limit(rows, ids, scores)
        assert not scores.isneginf().all(dim=1).any()
        token = torch.where(ended, stop[0], scores.argmax(dim=1))
        ended |= token == stop[0]
        ids = torch.cat([ids, token[:, None]], dim=1)
    written = [row[: row.index(stop[0])] if stop[0] in row else row for row in ids.tolist()]
    return [chat.tokenizer.decode(row) for row in written], written


def long_words(text):
    """All words, but for single letters of an alphabet."""
    return {word for word in words(text) if len(word) > 1 or content_words(word)}


def texts_of(prompt):
    return " ".join([*(piece.text for piece in (*prompt.system, *prompt.user)), prompt.start])


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    prompts=st.lists(prompts_of, min_size=1, max_size=3),
    length=st.integers(1, 40),
    seed=st.integers(0, 2**31),
)
def test_every_word_written_is_a_word_of_the_prompt(kind, prompts, length, seed):
    chat = chat_of(kind)
    _, rows = write(chat, prompts, Decoding(length, grounded=True), seed)
    for prompt, row in zip(prompts, rows, strict=True):
        # read together with the start, which a first token may go on with
        start = list(chat.encode_piece(Piece(prompt.start, True)))
        text = chat.tokenizer.decode(start + row)
        assert long_words(text) <= long_words(texts_of(prompt))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["bytes", "byte-level", "pieces"]),
    prompts=st.lists(prompts_of, min_size=1, max_size=3),
    length=st.integers(80, 140),
    seed=st.integers(0, 2**31),
    grounded=st.booleans(),
    stop_bias=st.sampled_from([-2.0, 0.0, 5.0]),
)
def test_the_form_comes_whole_whatever_its_values(kind, prompts, length, seed, grounded, stop_bias):
    texts, _ = write(chat_of(kind), prompts, Decoding(length, grounded=grounded, form=FORM), seed, stop_bias)
    for prompt, text in zip(prompts, texts, strict=True):
        lines = text.strip().split("\n")
        assert [line.split(":")[0].strip() for line in lines] == list(FORM)
        values = [line.split(":", 1)[1] for line in lines]
        assert all(words(value) for value in values)
        if grounded:
            assert long_words(" ".join(values)) <= long_words(texts_of(prompt))


def test_all_the_words_of_the_prompt_can_be_written():
    """A constraint that let nothing through would keep the promise too."""
    prompt = Prompt((), (Piece(TEXTS[0], False),), "")
    chat = chat_of("byte-level")
    limit = constrain(FREE, [prompt], Decoding(60, grounded=True), chat, [3])
    row = list(chat.encode_piece(Piece(" " + TEXTS[0].lower(), False)))
    for place in range(len(row)):
        written = torch.tensor([row[:place]], dtype=torch.long)
        scores = limit([0], written, torch.zeros((1, len(chat.tokenizer))))
        assert scores[0, row[place]] == 0, chat.tokenizer.decode(row[: place + 1])


def test_limits_against_repetition_give_way_where_nothing_else_is_left():
    def forbid_all(rows, written, scores):
        return torch.full_like(scores, -torch.inf)

    prompt = Prompt((), (Piece("sea", False),), "")
    limit = constrain(forbid_all, [prompt], Decoding(60, form=FORM), chat_of("bytes"), [3])
    scores = limit([0], torch.zeros((1, 0), dtype=torch.long), torch.zeros((1, 300)))
    first = chat_of("bytes").encode_piece(Piece("likes:", True))[0]
    assert scores.isfinite().nonzero().tolist() == [[0, first]]


def test_without_a_constraint_the_limits_are_left_alone():
    assert constrain(FREE, [], Decoding(8), chat_of("bytes"), [3]) is FREE


def test_too_few_tokens_for_the_form_are_refused_with_the_number():
    with pytest.raises(ConfigError) as error:
        constrain(FREE, [], Decoding(20, form=FORM), chat_of("bytes"), [3])
    assert str(error.value) == (
        "summaries.max_new_tokens 20: the 3 lines of the structured summary need at least 37; raise it or leave out "
        "lines in the template's words.yaml"
    )


def test_a_tokenizer_that_hides_its_text_is_refused():
    class Opaque:
        added_tokens_decoder, all_special_ids = {}, []

        def __len__(self):
            return 2

        def __call__(self, text, **_):
            return {"input_ids": [0, 1]}

        def convert_ids_to_tokens(self, ids):
            return ["##a", "##b"]

    with pytest.raises(ModelError, match=r"^Opaque: its tokens cannot be read as text, .*; set summaries.grounded to"):
        read_vocabulary(Opaque())


def test_the_local_backend_holds_to_the_form_and_to_the_words():
    chat = chat_of("byte-level")
    backend = LocalGenerator(make_model(vocabulary=len(chat.tokenizer)), chat, "tiny")
    decoding = Decoding(60, 1.1, 4, grounded=True, form=FORM)
    prompts = [Prompt((), (Piece(text, False),), "") for text in TEXTS]
    backend.submit([Call(str(number), prompt, decoding) for number, prompt in enumerate(prompts)])
    for key, generation in backend.collect():
        lines = generation.text.split("\n")
        assert [line.split(":")[0] for line in lines] == list(FORM)
        said = " ".join(line.split(":", 1)[1] for line in lines)
        assert long_words(said) <= long_words(TEXTS[int(key)])
