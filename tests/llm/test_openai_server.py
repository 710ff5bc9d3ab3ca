"""Summaries through a server; if these fail, calls are lost, paid for twice, late, or a key is shown."""

import email.utils
import json
import threading
import time

import pytest
from chat_server import MODEL, TOLD, chatting

from interrupting import interrupt_elsewhere
from trsr.errors import ConfigError, ModelError
from trsr.llm import http
from trsr.llm.openai_server import ServerGenerator
from trsr.llm.protocol import Call, Decoding, Piece, Prompt

DECODING = Decoding(max_new_tokens=32)
START = "This reader likes"


def make_call(key, text="sea birds", decoding=DECODING, start=START):
    return Call(key, Prompt((Piece("Take notes.", True),), (Piece(text, False),), start), decoding)


CALLS = [make_call(f"k{place}", f"title: Book {place}") for place in range(12)]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(http, "_FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server(quick):
    with chatting() as running:
        yield running


@pytest.fixture
def make(server):
    made = []

    def make_generator(**settings):
        made.append(ServerGenerator(server.url, MODEL, **({"concurrency": 4, "timeout": 5} | settings)))
        return made[-1]

    yield make_generator
    for generator in made:
        generator.close()


def collect_into(found, generator):
    while made := generator.collect():
        found += made


def collect_all(generator):
    found = []
    collect_into(found, generator)
    return found


def submit_at_once(server, generator, calls):
    """Let the server answer when it has as many requests as there may be."""
    server.gate, server.full_at = threading.Event(), generator.server.concurrency
    generator.submit(calls)
    assert server.gate.wait(10)


def answers(generator, calls=CALLS):
    generator.submit(calls)
    return dict(collect_all(generator))


@pytest.fixture
def expected(make):
    return answers(make())


# what is sent and read


def test_a_request_is_a_system_and_a_user_message_and_the_decoding(server, make):
    answers(make(), [make_call("k", decoding=Decoding(32, 1.1, 4, seed=7))])
    assert server.bodies == [
        {
            "model": MODEL,
            "messages": [
                {"role": "system", "content": "Take notes."},
                {"role": "user", "content": "sea birds"},
                {"role": "assistant", "content": START},
            ],
            "temperature": 0.0,
            "seed": 7,
            "max_tokens": 32,
            "repetition_penalty": 1.1,
            "add_generation_prompt": False,
            "continue_final_message": True,
        }
    ]


@pytest.mark.parametrize(
    ("owner", "continues", "limit", "penalty"),
    [
        ("vllm", True, "max_tokens", "repetition_penalty"),
        ("sglang", True, "max_tokens", "repetition_penalty"),
        ("llamacpp", True, "max_tokens", "repeat_penalty"),
        ("library", False, "max_tokens", None),  # Ollama
        ("openai", False, "max_completion_tokens", None),
    ],
)
def test_every_kind_of_server_gets_what_it_knows(server, make, owner, continues, limit, penalty):
    server.owner = owner
    generator = make()
    (made,) = answers(generator, [make_call("k", decoding=Decoding(32, 1.1))]).values()
    (body,) = server.bodies
    assert generator.continues == continues
    assert ("continue_final_message" in body) == continues
    assert (body["messages"][-1]["role"] == "assistant") == continues
    assert body["messages"][1]["content"].endswith(TOLD + START) != continues
    assert body[limit] == 32
    assert {"repetition_penalty", "repeat_penalty"} & set(body) == ({penalty} - {None})
    assert START not in made.text
    kind, start = "other" if owner == "library" else owner, "continued" if continues else "told"
    assert generator.fingerprint == f"{kind}/{MODEL}/{start}"


def test_llama_cpp_is_told_not_to_think_or_it_refuses_to_continue(server, make):
    server.owner = "llamacpp"
    answers(make(), CALLS[:1])
    assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}


def test_the_answer_start_can_be_chosen(server, make):
    answers(make(answer_start="tell"), CALLS[:1])
    server.owner = "library"
    answers(make(answer_start="continue"), CALLS[:1])
    assert [body["messages"][-1]["role"] for body in server.bodies] == ["user", "assistant"]


def test_without_a_start_nothing_is_told_and_nothing_continued(server, make):
    for answer_start in ("tell", "continue"):
        answers(make(answer_start=answer_start), [make_call("k", start="")])
    assert [len(body["messages"]) for body in server.bodies] == [2, 2]
    assert "continue_final_message" not in json.dumps(server.bodies)
    assert TOLD not in json.dumps(server.bodies)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("This reader likes sea birds.", " sea birds."),
        ("this  reader\nlikes sea birds.", " sea birds."),
        ('"This reader likes sea birds.', " sea birds."),
        ("Sure, here are the notes:\n\n**This reader likes** sea birds.", "** sea birds."),
        ("sea birds.", "sea birds."),
        ("Sea birds. This reader likes them.", "Sea birds. This reader likes them."),
        ("", ""),
    ],
)
def test_a_model_that_was_told_the_start_may_repeat_it(server, make, said, kept):
    def say(reply):
        reply["choices"][0]["message"]["content"] = said
        return reply

    server.spoil = say
    (made,) = answers(make(answer_start="tell"), CALLS[:1]).values()
    assert made.text == kept


def test_tokens_are_the_server_s_count_and_truncated_answers_are_counted(make, expected):
    generator = make()
    made = answers(generator, [make_call("short", decoding=Decoding(2)), make_call("long")])
    assert made["short"].tokens_out == 2
    assert generator.report.as_dict() == {
        "calls": 2,
        "retries": 0,
        "truncated": 1,
        "tokens_in": made["short"].tokens_in + made["long"].tokens_in,
        "tokens_out": 2 + made["long"].tokens_out,
    }


def test_more_settings_are_sent_and_belong_to_the_fingerprint(server, make):
    generator = make(more={"reasoning_effort": "none", "temperature": None})
    answers(generator, CALLS[:1])
    assert server.bodies[0]["reasoning_effort"] == "none"
    assert "temperature" not in server.bodies[0]
    assert generator.fingerprint == f'vllm/{MODEL}/continued/{{"reasoning_effort": "none", "temperature": null}}'


def test_half_a_surrogate_pair_does_not_stop_a_run(server, make):
    assert answers(make(), [make_call("k", "a\ud83d b")])
    assert server.bodies[0]["messages"][1]["content"] == "a? b"


# many at once


def test_as_many_requests_are_in_flight_as_there_may_be_and_no_more(server, make):
    generator = make(concurrency=8)
    submit_at_once(server, generator, [make_call(f"k{place}", str(place)) for place in range(20)])
    assert len(collect_all(generator)) == 20
    assert server.busiest == 8


def test_an_answer_is_handed_over_while_others_are_under_way(server, make):
    server.fault_of = lambda body: "hang" if "slow" in body["messages"][1]["content"] else ""
    generator = make()
    generator.submit([make_call("slow", "slow one"), make_call("quick", "quick one")])
    assert [key for key, _ in generator.collect()] == ["quick"]


# faults


@pytest.mark.parametrize("fault", ["busy", "failing", "reset", "cut_short", "garbled", "page"])
def test_a_passing_fault_costs_a_retry_and_no_answer(server, make, expected, fault):
    generator = make()
    server.faults.extend([fault, fault, "", fault])
    assert answers(generator) == expected
    assert generator.report.retries == 3


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_request_that_does_not_end_in_time_is_sent_again(server, make, expected, fault):
    generator = make(timeout=0.3)
    server.faults.append(fault)
    assert answers(generator) == expected
    assert server.hung_up.wait(5)
    assert generator.report.retries == 1


@pytest.mark.parametrize("seconds", [0.4, 0.9])
def test_a_pause_that_the_server_asks_for_is_kept(server, make, seconds):
    server.faults.append("busy")
    server.retry_after = str(seconds)
    answers(make(), CALLS[:1])
    assert server.times[1] - server.times[0] >= seconds


def test_a_pause_may_be_given_as_a_date(server, make):
    server.faults.append("busy")
    server.retry_after = email.utils.format_datetime(email.utils.localtime(), usegmt=False)
    answers(make(), CALLS[:1])  # a moment that is past asks for no pause
    server.retry_after, now = email.utils.formatdate(time.time() + 3, usegmt=True), time.monotonic()
    server.faults.append("busy")
    answers(make(), CALLS[:1])
    assert time.monotonic() - now > 1.5


@pytest.mark.parametrize("asked", ["", "soon", "-3", "nan", "inf", "Mon, 99 Foo 2026"])
def test_a_pause_that_makes_no_sense_is_none(server, make, expected, asked):
    server.faults.append("busy")
    server.retry_after = asked
    assert answers(make()) == expected


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("busy", "answered 429 (too many requests), 6 times in a row; see to the server"),
        ("failing", "answered 500 (engine died), 6 times in a row"),
        ("reset", "could not be reached ("),
        ("cut_short", "could not be reached (RemoteProtocolError"),
        ("garbled", "answered with invalid JSON, 6 times in a row; check that the url is the server's"),
        ("refusing", "answered 400 (the prompt is longer than the context); change what it complains about"),
        ("unknown_model", "answered 404 (model 'tiny-writer' not found); check the url"),
        ("locked", "refused a request without a key (401); name the variable"),
    ],
)
def test_a_lasting_fault_is_one_sentence_and_loses_nothing_else(server, make, expected, fault, said):
    server.fault_of = lambda body: fault if "Book 5" in body["messages"][1]["content"] else ""
    generator = make(concurrency=12)
    submit_at_once(server, generator, CALLS)
    found = []
    with pytest.raises(ModelError) as caught:
        collect_into(found, generator)
    assert said in str(caught.value)
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert dict(found) == {key: made for key, made in expected.items() if key != "k5"}


@pytest.mark.parametrize(
    ("fault", "said"), [("hang", "gave no answer in 0.2 s, 2 times in a row"), ("drip", "gave no answer in 0.2 s")]
)
def test_a_server_that_never_ends_an_answer_is_named(server, make, fault, said):
    server.fault_of = lambda body: fault
    generator = make(timeout=0.2, attempts=2)
    generator.submit(CALLS[:2])
    with pytest.raises(ModelError) as caught:
        generator.collect()
    assert said in str(caught.value)


def test_a_failure_stops_the_calls_behind_it(server, make):
    server.fault_of = lambda body: "refusing" if "Book 0" in body["messages"][1]["content"] else ""
    generator = make(concurrency=1)
    generator.submit(CALLS)
    with pytest.raises(ModelError, match="answered 400"):
        collect_all(generator)
    assert len(server.bodies) == 1


def test_after_an_error_the_rest_can_be_asked_again(server, make, expected):
    server.faults.append("refusing")
    generator = make(concurrency=1)
    generator.submit(CALLS)
    with pytest.raises(ModelError):
        collect_all(generator)
    assert answers(generator) == expected


def test_a_server_that_is_not_there_is_named(server, make):
    server.server_close()
    with pytest.raises(ModelError, match=r"/v1/models could not be reached .* 6 times in a row; see to the server"):
        make()


def test_a_wrong_model_name_is_refused_with_those_there_are(server):
    server.models = [f"m{number}" for number in range(20)]
    with pytest.raises(ModelError, match=r"does not serve tiny-writer; it serves m0, .*, m7 and 12 more$"):
        ServerGenerator(server.url, MODEL)


def test_ollama_s_latest_is_the_model_without_a_tag(server, make):
    server.models = [f"{MODEL}:latest"]
    assert make().model == MODEL


@pytest.mark.parametrize("reply", [{"error": {"message": "?"}}, [], {"choices": []}, {"choices": [{"message": {}}]}, 7])
def test_a_reply_of_another_shape_is_named(server, make, reply):
    server.spoil = lambda _: reply
    generator = make()
    generator.submit(CALLS[:1])
    with pytest.raises(ModelError, match="answered without a message or its token counts"):
        generator.collect()


def ending(message, end):
    """Replies with this message and this reason for its end."""

    def spoil(reply):
        reply["choices"][0] |= {"message": message, "finish_reason": end}
        return reply

    return spoil


@pytest.mark.parametrize(
    ("message", "end", "said"),
    [
        ({"content": None, "reasoning_content": "Hm."}, "length", "tokens of reasoning and no answer; switch thinking"),
        ({"content": "", "reasoning": "Hm."}, "length", "tokens of reasoning and no answer"),
    ],
)
def test_an_answer_that_is_none_is_named_and_not_kept(server, make, message, end, said):
    server.spoil = ending(message, end)
    generator = make()
    generator.submit(CALLS[:1])
    with pytest.raises(ModelError, match=said):
        generator.collect()


@pytest.mark.parametrize(
    ("message", "end"), [({"content": None, "refusal": "No."}, "stop"), ({"content": "This"}, "content_filter")]
)
def test_an_answer_that_is_withheld_is_an_empty_text(server, make, message, end):
    """Which is asked for again and replaced; as an error it would end every run at the same user."""
    server.spoil = ending(message, end)
    generator = make()
    generator.submit(CALLS[:1])
    [(key, generation)] = generator.collect()
    assert (key, generation.text) == (CALLS[0].key, "")
    assert generation.tokens_in > 0


# budgets


def test_no_more_calls_are_made_than_allowed_and_all_of_them_are_given(server, make, expected):
    generator = make(max_calls=5)
    generator.submit(CALLS)
    found = []
    with pytest.raises(ModelError, match="max_calls 5 is reached; raise it and run again, what is done is kept"):
        collect_into(found, generator)
    assert len(server.bodies) == len(CALLS) + 5  # those of `expected` came first
    assert {key: expected[key] for key, _ in found} == dict(found)
    assert len(found) == 5


@pytest.mark.parametrize("most", [700, 2000])
def test_no_more_tokens_are_spent_than_allowed_with_many_calls_in_flight(make, expected, most):
    generator = make(max_tokens=most, concurrency=12)
    generator.submit(CALLS * 10)
    found = []
    with pytest.raises(ModelError, match=f"max_tokens {most} leaves .* where the next call may take .*; raise it"):
        collect_into(found, generator)
    spent = sum(generation.tokens_in + generation.tokens_out for _, generation in found)
    assert 0 < spent == generator.report.tokens_in + generator.report.tokens_out <= most


def test_a_budget_that_is_enough_is_not_felt(make, expected):
    assert answers(make(max_calls=12, max_tokens=12 * 400)) == expected


# the end


def test_close_hangs_up_on_requests_under_way(server, make):
    server.fault_of = lambda body: "hang"
    generator = make()
    generator.submit(CALLS[:2])
    assert server.hanging.wait(5)
    generator.close()
    assert server.hung_up.wait(5)
    assert generator.report.retries == 0
    assert not any("portal" in thread.name for thread in threading.enumerate())


def test_the_key_goes_to_the_server_and_nowhere_else(server, make, monkeypatch, caplog):
    monkeypatch.setenv("SHOP_KEY", "sesame")
    with caplog.at_level("DEBUG"):
        generator = make(api_key_env="SHOP_KEY")
        server.faults.append("locked")
        generator.submit(CALLS[:1])
        with pytest.raises(ModelError, match=r"refused the key in SHOP_KEY \(401\)") as caught:
            generator.collect()
    assert server.keys == ["Bearer sesame"]
    shown = [caplog.text, str(caught.value), repr(vars(generator)), repr(vars(generator.server)), generator.fingerprint]
    assert not any("sesame" in text for text in shown)


def test_settings_that_cannot_work_are_refused(monkeypatch):
    monkeypatch.delenv("SHOP_KEY", raising=False)
    for settings, said in [
        ({"concurrency": 0}, "both must be above 0"),
        ({"attempts": 0}, "sent at least once"),
        ({"answer_start": "guess"}, "answer_start 'guess': unknown; take auto, continue or tell"),
        ({"api_key_env": "SHOP_KEY"}, "api_key_env SHOP_KEY: the environment holds no usable key"),
    ]:
        with pytest.raises(ConfigError, match=said):
            ServerGenerator("http://127.0.0.1:9", MODEL, **settings)


def test_ctrl_c_that_another_thread_receives_ends_the_wait(server, make):
    server.fault_of = lambda body: "hang"
    generator = make(timeout=60)
    with interrupt_elsewhere(server.hanging), pytest.raises(KeyboardInterrupt):
        answers(generator, CALLS[:1])
    assert generator.report.retries == 0  # at once, and not when the server hangs up
