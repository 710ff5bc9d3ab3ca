"""`trsr rank --server`: the same ranking as with local weights, from the folder that `trsr export` wrote."""

import json

import polars as pl
import pytest
from transformers import AutoModelForCausalLM

from experiment.tiny_shop import config_of, make_base, make_shop
from ranking.probability_server import MODEL, next_logits_of, serving
from trsr.config import dump_yaml


@pytest.fixture
def tuned(tmp_path, trsr):
    """(model folder, dataset folder, merged weights) of a tiny ranker tuned without summaries."""
    base, shop = make_base(tmp_path / "base"), make_shop(tmp_path / "shop")
    config = tmp_path / "config.yaml"
    config.write_text(dump_yaml(config_of(base, shop, methods=["none"])), encoding="utf-8")
    trained = json.loads(trsr("train", config, "--method", "none", "--out", tmp_path / "run", "--json").out)
    assert trsr("export", trained["model"], tmp_path / "merged", "--dtype", "float32").code == 0
    return trained["model"], shop, tmp_path / "merged"


@pytest.mark.parametrize("protocol", ["vllm", "sglang"])
def test_a_server_ranks_as_local_weights_do(tuned, trsr, monkeypatch, protocol):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    model, shop, merged = tuned
    user = pl.read_parquet(shop / "interactions.parquet")["user_id"][0]
    local = json.loads(trsr("rank", model, shop, "--user", user, "--json").out)
    with serving(next_logits_of(AutoModelForCausalLM.from_pretrained(merged)), protocol) as server:
        outcome = trsr("rank", model, shop, "--user", user, "--server", server.url, "--server-model", MODEL, "--json")
    assert outcome.code == 0, outcome.err
    served = json.loads(outcome.out)
    assert len(served) > 10
    assert [entry["item_id"] for entry in served] == [entry["item_id"] for entry in local]
    odds = [[entry["log_odds"] for entry in ranked] for ranked in (served, local)]
    assert odds[0] == pytest.approx(odds[1], abs=1e-4)


def test_a_server_that_is_not_there_is_one_sentence(tuned, trsr, monkeypatch):
    monkeypatch.setattr("trsr.llm.http._FIRST_WAIT", 0.0)
    model, shop, _ = tuned
    outcome = trsr("rank", model, shop, "--user", "u1", "--server", "http://127.0.0.1:9", "--server-model", "x")
    assert outcome.code == 4
    assert "http://127.0.0.1:9/v1/models could not be reached" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--server", "http://127.0.0.1:9"], "--server-model"), (["--server-model", "x"], "--server; give its address")],
)
def test_half_of_a_server_is_one_sentence(tuned, trsr, options, said):
    model, shop, _ = tuned
    outcome = trsr("rank", model, shop, "--user", "u1", *options)
    assert outcome.code == 2
    assert said in outcome.err


def test_a_server_with_too_short_a_context_is_refused(tuned, trsr, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    model, shop, merged = tuned
    with serving(next_logits_of(AutoModelForCausalLM.from_pretrained(merged)), "vllm") as server:
        server.card["max_model_len"] = 100
        outcome = trsr("rank", model, shop, "--user", "u1", "--server", server.url, "--server-model", MODEL)
    assert outcome.code == 2
    assert "a context of 100 tokens, prompt.max_tokens is" in outcome.err
