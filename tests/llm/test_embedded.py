"""The small real model that everything runs with out of the box."""

import pytest

from trsr.errors import ModelError
from trsr.llm.chat import ChatFormat
from trsr.llm.local import LocalGenerator
from trsr.llm.protocol import Call, Decoding, Piece, Prompt
from trsr.llm.weights import EMBEDDED, load_model, load_tokenizer, resolve_weights


@pytest.mark.slow
def test_the_embedded_model_answers_in_one_token_and_writes_english():
    try:
        weights = resolve_weights(EMBEDDED)
    except ModelError as error:
        pytest.skip(f"the embedded model cannot be had here: {error}")
    chat = ChatFormat(load_tokenizer(weights))
    answers = chat.answers("yes", "no")
    assert (answers.yes_piece, answers.no_piece) == ("yes", "no")
    generator = LocalGenerator(load_model(weights), chat, weights.fingerprint)
    prompt = Prompt(
        (Piece("You are a helpful assistant.", True),), (Piece("What is the capital of France?", False),), "The capital"
    )
    generator.submit([Call("capital", prompt, Decoding(max_new_tokens=12))])
    ((_, generation),) = generator.collect()
    assert generation.text.startswith(" of France is Paris")
