"""What every backend owes the runner; a backend that breaks one of these loses, mixes up or invents summaries."""

import pytest

from trsr.errors import ModelError
from trsr.llm.protocol import Call, Decoding, Piece, Prompt

DECODING = Decoding(max_new_tokens=8)
TEXTS = ("tea", "a long list of books about the sea and its birds", "x", "green lamps", "", "boats", "ink", "winter")


def make_call(key, text, decoding=DECODING, start="This user"):
    return Call(key, Prompt((Piece("Note.", True),), (Piece("Likes: ", True), Piece(text, False)), start), decoding)


CALLS = [make_call(f"k{place}", text) for place, text in enumerate(TEXTS)]


def collect_into(found, generator):
    while made := generator.collect():
        found += made


def answers(generator, calls):
    """Everything that `calls` bring, by key, handed over as the protocol has it: never more than fits."""
    found = []
    for start in range(0, len(calls), generator.slots):
        generator.submit(calls[start : start + generator.slots])
        collect_into(found, generator)
    assert len({key for key, _ in found}) == len(found)
    return dict(found)


def test_every_call_is_answered_once_under_its_key(backend):
    assert answers(backend.generator, CALLS).keys() == {call.key for call in CALLS}


def test_an_answer_belongs_to_its_key_in_whatever_order_calls_come(backend):
    forwards, backwards = answers(backend.generator, CALLS), answers(backend.generator, CALLS[::-1])
    assert forwards == backwards
    assert len({generation.text for generation in forwards.values()}) > 1  # else agreement would say little


def test_more_calls_than_slots_are_all_answered(backend):
    backend.generator.submit(CALLS)
    found = []
    collect_into(found, backend.generator)
    assert dict(found) == answers(backend.generator, CALLS)


def test_calls_may_be_added_while_others_are_under_way(backend):
    backend.generator.submit(CALLS[:2])
    found = backend.generator.collect()
    backend.generator.submit(CALLS[2:4])
    collect_into(found, backend.generator)
    assert sorted(key for key, _ in found) == ["k0", "k1", "k2", "k3"]


def test_nothing_submitted_gives_nothing_and_does_not_wait(backend):
    assert backend.generator.collect() == []
    backend.generator.submit([])
    assert backend.generator.collect() == []


@pytest.mark.parametrize(
    "text", ["日本語のタイトル", "👩‍👩‍👧 family 🎉", 'Größe “quoted” \\ " {} %s', "a\tb\nc", "\x00"]
)
def test_any_text_can_be_sent(backend, text):
    (made,) = answers(backend.generator, [make_call("k", text)]).values()
    assert made.tokens_in > 0


def test_fifty_kilobytes_are_read_whole(backend):
    long, short = (answers(backend.generator, [make_call("k", " boats" * count)])["k"] for count in (8400, 2))
    assert long.tokens_in - short.tokens_in == 8398


def test_greedy_answers_are_the_same_every_time(backend):
    assert answers(backend.generator, CALLS[:4]) == answers(backend.generator, CALLS[:4])


def test_tokens_are_counted_and_no_more_are_written_than_allowed(backend):
    for limit in (1, 3):
        made = answers(backend.generator, [make_call(text, text, Decoding(limit)) for text in TEXTS])
        assert all(generation.tokens_in > 0 for generation in made.values())
        assert all(0 < generation.tokens_out <= limit for generation in made.values())
    assert 3 in {generation.tokens_out for generation in made.values()}


def test_calls_of_one_batch_may_be_decoded_differently(backend):
    calls = [make_call("one", "tea", Decoding(1)), make_call("four", "tea", Decoding(4))]
    made = answers(backend.generator, calls)
    assert made["one"].tokens_out == 1
    assert made["four"].tokens_out > 1


def test_the_answer_begins_behind_its_start(backend):
    (made,) = answers(backend.generator, CALLS[:1]).values()
    assert "This user" not in made.text


def test_what_was_answered_before_an_error_has_been_given(backend):
    generator = backend.generator
    generator.submit(CALLS[:4])
    found = []
    collect_into(found, generator)
    backend.fail()
    generator.submit(CALLS[4:])
    with pytest.raises((ModelError, RuntimeError)):
        collect_into(found, generator)
    assert {key for key, _ in found} == {"k0", "k1", "k2", "k3"}


def test_close_gives_up_what_is_under_way_and_may_be_called_again(backend):
    backend.generator.submit(CALLS)
    backend.generator.close()
    backend.generator.close()
    assert backend.generator.collect() == []


def test_the_fingerprint_is_one_line_and_slots_are_told(backend):
    assert backend.generator.fingerprint.isprintable()
    assert backend.generator.slots == 4
