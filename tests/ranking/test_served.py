"""Scores through a server against the local ones; if these fail, served rankings are wrong, late or never end."""

import itertools
import json
import math
import threading

import numpy as np
import pytest
from probability_server import MODEL, drop, next_logits_of, put, serving

from interrupting import interrupt_elsewhere
from tiny import make_model, make_tokenizer
from trsr.config import PromptConfig
from trsr.errors import ConfigError, ModelError
from trsr.llm import http
from trsr.llm.chat import ChatFormat
from trsr.prompts.items import ItemTexts
from trsr.prompts.ranking import RankingPrompt, RankingPrompts
from trsr.prompts.templates import TemplateSet
from trsr.ranking import served
from trsr.ranking.scoring import LocalScoring
from trsr.ranking.served import ServedScoring

TITLES = [
    "Sea birds",
    "Old boats of the northern coast and their builders",
    "Green lamps",
    "Ink",
    "A long winter, told",
]
ITEMS = {f"i{n}": {"title": f"{TITLES[n % 5]} {n}", "subject": "art" if n % 2 else None} for n in range(12)}


CHAT = ChatFormat(make_tokenizer())


@pytest.fixture(scope="module")
def model():
    return make_model("llama", vocabulary=len(CHAT.tokenizer))


@pytest.fixture(scope="module")
def next_logits(model):
    return next_logits_of(model)


@pytest.fixture(scope="module")
def made():
    config = PromptConfig(max_tokens=1024)
    templates = TemplateSet(config.template)
    return RankingPrompts(templates, ItemTexts(ITEMS, ["title", "subject"], templates, CHAT), CHAT, config)


@pytest.fixture(scope="module")
def answers(made):
    return made.answers


@pytest.fixture(scope="module")
def prompts(made):
    """Users with histories, summaries and candidate lists of different lengths."""
    ids = list(ITEMS)
    return [made.build("Likes boats. " * (n % 3), ids[: n % 4], ids[n % 5 : n % 5 + 1 + 3 * n % 7]) for n in range(9)]


@pytest.fixture(scope="module")
def local(model, answers, prompts):
    return list(LocalScoring(model, answers, "blocks", pass_tokens=512).score(prompts))


@pytest.fixture(params=["vllm", "sglang"])
def server(next_logits, request, monkeypatch):
    monkeypatch.setattr(http, "_FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(next_logits, request.param) as running:
        yield running


@pytest.fixture
def scoring(server, answers):
    return ServedScoring(server.url, MODEL, answers, concurrency=4, timeout=5)


def ids_of(body):
    return body["prompt"] if "prompt" in body else body["input_ids"]


def assert_same(scores, expected):
    assert [part.dtype for part in scores] == [np.float32] * len(expected)
    assert [len(part) for part in scores] == [len(part) for part in expected]
    assert np.concatenate(expected).std() > 0.1  # else agreement would say little
    np.testing.assert_allclose(np.concatenate(scores), np.concatenate(expected), atol=1e-4, rtol=0)


def test_served_log_odds_are_the_local_ones(scoring, prompts, local):
    assert_same(list(scoring.score(prompts)), local)


def test_candidates_over_several_requests_score_as_in_one(scoring, prompts, local, monkeypatch):
    monkeypatch.setattr(served, "_PROMPTS_PER_CALL", 2)
    assert_same(list(scoring.score(prompts)), local)
    assert scoring.report.requests == sum(math.ceil(len(prompt.suffixes) / 2) for prompt in prompts)


def test_order_is_that_of_the_prompts_when_answers_come_out_of_order(server, scoring, prompts, local):
    server.later = 3
    assert_same(list(scoring.score(prompts)), local)
    assert server.finished[0] >= 3


def test_the_server_gets_the_ids_of_whole_prompts_and_no_text(server, scoring, prompts):
    list(scoring.score(prompts))
    sent = sorted(ids for body in server.bodies for ids in ids_of(body))
    assert sent == sorted([*prompt.prefix, *suffix] for prompt in prompts for suffix in prompt.suffixes)
    assert not any("text" in body for body in server.bodies)
    assert scoring.report.tokens == sum(map(len, sent))
    assert scoring.report.seconds > 0


def test_a_user_without_candidates_takes_no_request(scoring, prompts, local):
    empty = RankingPrompt((1, 2), (), "", ())
    first, second = scoring.score([empty, prompts[0]])
    assert len(first) == 0
    np.testing.assert_allclose(second, local[0], atol=1e-4, rtol=0)


def test_the_manifest_names_server_model_and_protocol(server, answers):
    scoring = ServedScoring(server.url + "/v1/", MODEL, answers)
    assert scoring.fingerprint == {"url": server.url, "model": MODEL, "protocol": server.protocol}
    assert scoring.context == 4096


@pytest.mark.parametrize("fault", ["busy", "failing", "reset", "cut_short"])
def test_a_passing_fault_costs_a_retry_and_no_score(server, scoring, prompts, local, fault):
    server.faults.extend([fault, fault])
    assert_same(list(scoring.score(prompts)), local)
    assert scoring.report.retries == 2


def test_a_request_without_an_answer_in_time_is_sent_again(server, answers, prompts, local):
    server.faults.append("hang")
    scoring = ServedScoring(server.url, MODEL, answers, concurrency=1, timeout=0.15)
    assert_same(list(scoring.score(prompts)), local)
    assert server.hung_up.is_set()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("failing", "answered 500 (engine died), 6 times in a row"),
        ("refusing", "answered 400 (the prompt is longer than the context)"),
        ("garbled", "invalid JSON"),
    ],
)
def test_a_lasting_fault_is_one_sentence_that_names_the_server(server, scoring, prompts, fault, said):
    server.faults.extend([fault] * 6)
    with pytest.raises(ModelError) as caught:
        list(scoring.score(prompts[:1]))
    assert said in str(caught.value)
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_named(answers, server):
    server.server_close()
    with pytest.raises(ModelError, match=r"/v1/models could not be reached .* 6 times in a row; see to the server"):
        ServedScoring(server.url, MODEL, answers)


def test_another_model_name_is_refused_with_those_there_are(server, answers):
    with pytest.raises(ModelError, match=f"does not serve other; it serves {MODEL}"):
        ServedScoring(server.url, "other", answers)


def test_a_model_that_went_away_is_named(server, scoring, prompts):
    scoring.model = "other"
    server.protocol = "vllm" if server.protocol == "sglang" else server.protocol
    with pytest.raises(ModelError, match=r"answered 404 \(The model `.*` does not exist\.\); check the url"):
        list(scoring.score(prompts))


@pytest.mark.parametrize("answer", ["yes_id", "no_id"])
def test_a_server_that_keeps_one_answer_back_is_refused(server, scoring, answers, prompts, answer):
    token = getattr(answers, answer)
    server.spoil = drop(token)
    with pytest.raises(ModelError, match=rf"gave no log-probability of answer token {token}; take an? (vLLM|SGLang)"):
        list(scoring.score(prompts[:1]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -9999.0, None])
def test_log_probabilities_that_are_no_numbers_are_refused(server, scoring, answers, prompts, value):
    server.spoil = put(answers.no_id, value)
    with pytest.raises(ModelError, match=r"of yes and .* of no; look for overflow"):
        list(scoring.score(prompts[:1]))


@pytest.mark.parametrize("reply", [{"error": "?"}, [], {"choices": [{"index": 0}]}])
def test_a_reply_of_another_shape_is_refused(server, scoring, prompts, reply):
    server.spoil = lambda _: reply
    with pytest.raises(ModelError, match=r"answered without log-probabilities|where .* were sent"):
        list(scoring.score(prompts[:1]))


def test_a_server_that_truncates_is_refused(server, scoring, prompts):
    def truncate(reply):
        return json.loads(json.dumps(reply).replace('"prompt_tokens": ', '"prompt_tokens": 1'))

    server.spoil = truncate
    with pytest.raises(ModelError, match="without truncation"):
        list(scoring.score(prompts[:1]))


@pytest.fixture
def old_vllm(next_logits, monkeypatch):
    """It ignores the ids asked for and lists the likeliest tokens."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(next_logits, "vllm") as running:
        running.listed = 20
        yield running


def test_an_old_vllm_is_refused_where_its_list_lacks_an_answer(old_vllm, answers, prompts):
    with pytest.raises(ModelError, match="take a vLLM whose /v1/completions knows logprob_token_ids"):
        list(ServedScoring(old_vllm.url, MODEL, answers).score(prompts))


def test_an_old_vllm_is_exact_where_its_list_holds_both_answers(old_vllm, answers, prompts, local):
    old_vllm.listed = len(CHAT.tokenizer)
    assert_same(list(ServedScoring(old_vllm.url, MODEL, answers).score(prompts)), local)


def test_an_interrupt_leaves_no_request_behind(server, scoring, prompts):
    server.fault_of = lambda body: "hang"

    def interrupted():
        yield from prompts[:3]
        assert server.hanging.wait(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(scoring.score(interrupted()))
    assert server.hung_up.wait(5)
    assert scoring.report.retries == 0
    assert not any("portal" in thread.name for thread in threading.enumerate())


def test_ctrl_c_that_another_thread_receives_ends_the_wait(server, scoring, prompts):
    server.fault_of = lambda body: "hang"
    with interrupt_elsewhere(server.hanging), pytest.raises(KeyboardInterrupt):
        list(scoring.score(prompts[:1]))
    assert scoring.report.retries == 0  # at once, and not when the server hangs up


def test_an_error_cancels_what_is_under_way(server, scoring, prompts):
    first = [*prompts[0].prefix, *prompts[0].suffixes[0]]
    server.fault_of = lambda body: "refusing_when_another_hangs" if first in ids_of(body) else "hang"
    with pytest.raises(ModelError, match="answered 400"):
        list(scoring.score(prompts[:3]))
    assert server.hung_up.wait(5)


def test_few_prompts_are_read_ahead_of_a_million(scoring, prompts):
    read = itertools.count()
    scores = scoring.score(prompt for prompt in itertools.cycle(prompts) if next(read) < 1_000_000)
    next(scores)
    scores.close()
    assert next(read) < 4 * 4 + 3


def test_the_key_goes_to_the_server_and_nowhere_else(server, answers, prompts, monkeypatch, caplog):
    monkeypatch.setenv("SHOP_KEY", "sesame")
    with caplog.at_level("DEBUG"):
        scoring = ServedScoring(server.url, MODEL, answers, api_key_env="SHOP_KEY")
        server.faults.append("locked")
        with pytest.raises(ModelError, match=r"refused the key in SHOP_KEY \(401\)") as caught:
            list(scoring.score(prompts[:1]))
    assert server.keys == ["Bearer sesame"]
    shown = [caplog.text, str(caught.value), repr(vars(scoring)), str(scoring.fingerprint)]
    assert not any("sesame" in text for text in shown)


@pytest.mark.parametrize("value", ["", "ses\name", "sésame"])
def test_an_unusable_key_is_refused_without_showing_it(answers, monkeypatch, value):
    monkeypatch.setenv("SHOP_KEY", value)
    with pytest.raises(ConfigError, match="api_key_env SHOP_KEY") as caught:
        ServedScoring("http://127.0.0.1:9", MODEL, answers, api_key_env="SHOP_KEY")
    assert not value or value not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://shop", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused(answers, url):
    with pytest.raises(ConfigError, match="write it as http://host:port"):
        ServedScoring(url, MODEL, answers)


@pytest.mark.parametrize("url", ["http://me:sesame@shop.invalid", "http://shop.invalid?key=sesame"])
def test_a_secret_in_the_address_is_refused_without_showing_it(answers, url):
    with pytest.raises(ConfigError, match="holds credentials") as caught:
        ServedScoring(url, MODEL, answers)
    assert "sesame" not in str(caught.value)


def test_settings_that_cannot_work_are_refused(answers):
    with pytest.raises(ConfigError, match="both must be above 0"):
        ServedScoring("http://shop.invalid", MODEL, answers, concurrency=0)
    with pytest.raises(ConfigError, match="protocol 'tgi': unknown; take auto, vllm or sglang"):
        ServedScoring("http://shop.invalid", MODEL, answers, "tgi")


def test_a_server_of_another_kind_asks_for_its_protocol(server, answers, prompts, local):
    protocol, server.card["owned_by"] = server.protocol, "gateway"
    with pytest.raises(ModelError, match="says it is 'gateway'; name its protocol"):
        ServedScoring(server.url, MODEL, answers)
    assert_same(list(ServedScoring(server.url, MODEL, answers, protocol).score(prompts)), local)


def test_an_adapter_that_sglang_would_ignore_is_refused(server, answers):
    server.card["parent"] = "base"
    if server.protocol == "vllm":
        assert ServedScoring(server.url, MODEL, answers).protocol == "vllm"
    else:
        with pytest.raises(ModelError, match="serve the merged model"):
            ServedScoring(server.url, MODEL, answers)
