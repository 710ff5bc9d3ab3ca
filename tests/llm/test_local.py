"""Batched generation: a summary must not depend on which other users were in its batch."""

import pytest
import torch

from tiny import make_model, make_tokenizer
from trsr.errors import ModelError
from trsr.llm import local
from trsr.llm.chat import ChatFormat
from trsr.llm.local import LocalGenerator
from trsr.llm.protocol import Call, Decoding, Piece, Prompt

TEXTS = ("tea", "a long list of books about the sea and its birds", "x", "green lamps", "")
PROMPTS = [Prompt((Piece("Note.", True),), (Piece(text, False),), "This") for text in TEXTS]


def make_generator(template=True, family="llama", seed=0, batch_size=32):
    tokenizer = make_tokenizer() if template else make_tokenizer(template=None, bos=True)
    # as many ids as there are tokens, so that all that is written can be decoded
    return LocalGenerator(
        make_model(family, seed, vocabulary=len(tokenizer)), ChatFormat(tokenizer), "tiny@1", batch_size
    )


def answers(generator, prompts, decoding):
    """What the prompts bring as one batch, in their order."""
    generator.submit([Call(str(place), prompt, decoding) for place, prompt in enumerate(prompts)])
    made = generator.collect()
    assert [key for key, _ in made] == [str(place) for place in range(len(prompts))]
    return [generation for _, generation in made]


def slow_greedy(generator, prompt, count):
    """Argmax token by token without cache, batch or padding."""
    ids = list(generator.chat.encode_prompt(prompt))
    written = []
    while len(written) < count and (not written or written[-1] not in generator._stop):
        with torch.no_grad():
            written.append(int(generator.model(torch.tensor([ids + written])).logits[0, -1].argmax()))
    return written


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_neox"])
def test_a_batch_writes_what_each_prompt_alone_would(family):
    generator = make_generator(family=family)
    together = answers(generator, PROMPTS, Decoding(max_new_tokens=24))
    for prompt, generation in zip(PROMPTS, together, strict=True):
        written = slow_greedy(generator, prompt, 24)
        text = generator.chat.tokenizer.decode(
            [token for token in written if token not in generator._stop], skip_special_tokens=True
        )
        assert (generation.text, generation.tokens_out) == (text, len(written))


@pytest.mark.parametrize("template", [True, False])
@pytest.mark.parametrize("decoding", [Decoding(24, repetition_penalty=5.0), Decoding(24, 5.0, no_repeat_ngram=3)])
def test_limits_on_repetition_do_not_see_the_padding(template, decoding):
    # padding with the end token would punish ending, in the shorter prompts of a batch only
    generator = make_generator(template)
    steps = []

    def end_is_narrowly_best_from_the_sixth_step_on(module, inputs, output):
        steps.append(None)
        if len(steps) >= 6:
            output[..., generator.chat.tokenizer.eos_token_id] = 1.05 * output.amax(-1)
        return output

    generator.model.lm_head.register_forward_hook(end_is_narrowly_best_from_the_sixth_step_on)

    def generate(prompts):
        steps.clear()
        return answers(generator, prompts, decoding)

    together = generate(PROMPTS)
    assert together == [generate([prompt])[0] for prompt in PROMPTS]
    if not template:  # ChatML has the end token in every prompt, so there it is punished in all alike
        assert [generation.tokens_out for generation in together] == [6] * len(PROMPTS)


def make_ending(generator, after):
    """Make the end token the best one from the step `after` on."""
    steps = []

    def hook(module, inputs, output):
        steps.append(None)
        if len(steps) >= after:
            output[..., generator.chat.tokenizer.eos_token_id] = 1e4
        return output

    generator.model.lm_head.register_forward_hook(hook)


def test_generation_stops_at_the_end_token_and_counts_it():
    generator = make_generator()
    whole = answers(generator, PROMPTS[:1], Decoding(24))[0]
    make_ending(generator, after=4)
    stopped = answers(generator, PROMPTS[:1], Decoding(24))[0]
    assert stopped.tokens_out == 4
    assert "<|im_end|>" not in stopped.text
    assert whole.text.startswith(stopped.text)
    assert len(stopped.text) < len(whole.text)


def test_without_an_end_token_every_new_token_is_counted():
    generator = make_generator()
    generator.model.lm_head.register_forward_hook(
        lambda module, inputs, output: output.index_fill(-1, torch.tensor(generator._stop), -1e4)
    )
    assert [generation.tokens_out for generation in answers(generator, PROMPTS, Decoding(7))] == [7] * len(PROMPTS)


def test_tokens_read_are_those_of_the_prompt_without_padding():
    generator = make_generator()
    generations = answers(generator, PROMPTS, Decoding(2))
    assert [made.tokens_in for made in generations] == [len(generator.chat.encode_prompt(prompt)) for prompt in PROMPTS]


def test_the_fingerprint_names_model_and_dtype():
    # the summary store is keyed by it: two precisions must not share their summaries
    assert make_generator().fingerprint == "tiny@1/float32"
    half = LocalGenerator(make_model().to(torch.bfloat16), ChatFormat(make_tokenizer()), "tiny@1")
    assert half.fingerprint == "tiny@1/bfloat16"


def test_what_the_prompt_says_may_be_said_again():
    """An update must be able to take over the words of the notes that it continues."""
    generator = make_generator()
    prompt = Prompt((), (Piece("tea", False),), "")
    (wanted,) = generator.chat.encode_piece(Piece("a", False))
    assert wanted in generator.chat.encode_prompt(prompt)

    def said_before_is_narrowly_best(module, inputs, output):
        output[..., wanted] = output.amax(-1) + 0.01
        return output

    generator.model.lm_head.register_forward_hook(said_before_is_narrowly_best)
    free = answers(generator, [prompt], Decoding(2))[0].text
    assert free == "aa"
    limited = answers(generator, [prompt], Decoding(2, repetition_penalty=5.0, no_repeat_ngram=1))[0].text
    assert limited[0] == "a"
    assert limited != "aa"


@pytest.mark.parametrize("own_loop", [True, False])
def test_calls_of_one_batch_may_be_decoded_in_different_ways(own_loop):
    """A second attempt goes with the first attempts of others, or it would run in a batch of few."""
    generator = make_generator()
    generator.can_decode = own_loop
    ways = [Decoding(12), Decoding(12, 5.0, 2), Decoding(12), Decoding(12, 5.0, 2), Decoding(12, grounded=True)]
    calls = [Call(str(place), prompt, way) for place, (prompt, way) in enumerate(zip(PROMPTS, ways, strict=True))]
    generator.submit(calls)
    together = [generation for _, generation in generator.collect()]
    assert together == [answers(generator, [call.prompt], call.decoding)[0] for call in calls]
    assert len({generation.text for generation in together}) == len(calls)


def test_when_memory_runs_out_the_batch_is_halved_and_nothing_is_lost(monkeypatch):
    generator = make_generator(batch_size=5)
    expected = {text: answers(generator, [prompt], Decoding(4))[0] for text, prompt in zip(TEXTS, PROMPTS, strict=True)}
    decode = local.decode

    def little_memory(model, rows, *rest):
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(model, rows, *rest)

    monkeypatch.setattr(local, "decode", little_memory)
    generator.submit([Call(text, prompt, Decoding(4)) for text, prompt in zip(TEXTS, PROMPTS, strict=True)])
    made = {}
    while some := generator.collect():
        assert len(some) <= 2
        made |= dict(some)
    assert made == expected
    assert generator.slots == 2


def test_memory_that_does_not_hold_one_prompt_is_one_sentence(monkeypatch):
    generator = make_generator()

    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(local, "decode", no_memory)
    generator.submit([Call("k", PROMPTS[0], Decoding(2))])
    with pytest.raises(ModelError, match=r"^out of memory with a single prompt; lower summaries\.max_prompt"):
        generator.collect()


def test_of_more_than_a_batch_the_longest_come_first_and_together():
    """So that little is padding; a batch keeps the order in which its calls were submitted."""
    generator = make_generator(batch_size=2)
    generator.submit([Call(text, prompt, Decoding(2)) for text, prompt in zip(TEXTS, PROMPTS, strict=True)])
    made = [[key for key, _ in generator.collect()] for _ in range(4)]
    assert made == [["a long list of books about the sea and its birds", "green lamps"], ["tea", "x"], [""], []]


def test_sampling_is_refused_rather_than_left_out():
    generator = make_generator()
    generator.submit([Call("k", PROMPTS[0], Decoding(2, temperature=0.7))])
    with pytest.raises(ModelError, match=r"temperature 0\.7: local weights are decoded greedily; set it to 0"):
        generator.collect()
