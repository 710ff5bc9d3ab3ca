"""Benchmarks on tiny models: the methods do what they are said to do, and a wrong one is found out."""

import sys
from functools import partial

import numpy as np
import pytest
import torch

from tiny import make_model
from trsr.benchmarks import batching, cases, subject
from trsr.benchmarks.bench import Plan, bench_scoring, bench_training
from trsr.benchmarks.cases import Case, Inputs
from trsr.benchmarks.crossencoder import make_cross_encoder, pairs_of
from trsr.benchmarks.scoring import METHODS, ScoringMethods
from trsr.benchmarks.subject import Subject, load_subject
from trsr.benchmarks.training import TrainingMethods
from trsr.errors import ConfigError, ModelError
from trsr.llm.chat import Answers
from trsr.ranking.scoring import LocalScoring

KEYS = {"method", "prefix_tokens", "suffix_tokens", "candidates", "seconds", "tokens", "peak_mb", "device"}
CASE = Case(30, 5, 6)
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
}


def plan(model, **changes) -> Plan:
    sizes = {"prefixes": [CASE.prefix], "suffixes": [CASE.suffix], "candidates": [CASE.candidates]}
    return Plan(**({"model": str(model), "dtype": "float32", "repeats": 1} | sizes | changes))


def subject_of(model) -> Subject:
    return Subject("tiny", model, Answers(1, 2, "yes", "no"), tuple(range(320)))


@pytest.mark.parametrize("attention", ["auto", "mask"])
def test_all_ways_to_score_give_the_same_and_tell_their_tokens(tiny_model, attention):
    """Each method is compared with full prompts on the way; a wrong one would end this with an error."""
    rows = bench_scoring(plan(tiny_model, attention=attention)).rows
    assert all(row.keys() == KEYS and row["seconds"] > 0 and row["peak_mb"] > 0 for row in rows)
    assert {row["method"]: row["tokens"] for row in rows} == {
        "published": 6 * 2048,
        "batched": 6 * 35,
        "crossencoder": 6 * 35,
        "trsr": 30 + 6 * 5,
        "trsr_returning": 6 * 5,
        "limit": 30 + 6 * 5,
    }
    assert {tuple(row[name] for name in ("prefix_tokens", "suffix_tokens", "candidates")) for row in rows} == {
        (30, 5, 6)
    }


@pytest.mark.parametrize("loss", ["binary", "listwise", "pairwise"])
def test_all_ways_to_train_give_the_same_gradients_and_tell_their_tokens(tiny_model, loss):
    rows = bench_training(plan(tiny_model, candidates=[2, 6]), loss, 4).rows
    assert all(row.keys() == KEYS for row in rows)
    assert [(row["method"], row["candidates"], row["tokens"]) for row in rows] == [
        *(("separate", 2, 70), ("trsr", 2, 40), ("limit", 2, 40)),
        *(("separate", 6, 210), ("trsr", 6, 60), ("limit", 6, 60)),
    ]


@pytest.mark.parametrize("candidates", [6, 9])
def test_ragged_suffixes_keep_the_tokens_of_the_limit_and_fill_up_batches(tiny_model, candidates, monkeypatch):
    monkeypatch.setattr(batching.Batching, "fastest", _in_fours)
    report = bench_scoring(plan(tiny_model, ragged=True, suffixes=[10], candidates=[candidates]))
    lengths = Case(30, 10, candidates, ragged=True).lengths
    ranked = sorted(lengths, reverse=True)
    filled = sum(30 + ranked[place - place % 4] for place in range(candidates))
    least = 30 + 10 * candidates
    assert {row["method"]: row["tokens"] for row in report.rows} == {
        "published": candidates * 2048,
        "batched": filled,
        "crossencoder": filled,
        "trsr": least,
        "trsr_returning": least - 30,
        "limit": least,
    }
    assert {row["suffix_tokens"] for row in report.rows} == {10}
    assert report.title.startswith("scoring, suffixes of S/2 to 3S/2 tokens: ")


@pytest.mark.parametrize("loss", ["binary", "listwise", "pairwise"])
def test_ragged_suffixes_train_alike_in_all_ways(tiny_model, loss, monkeypatch):
    monkeypatch.setattr(batching.Batching, "fastest", _in_fours)
    rows = bench_training(plan(tiny_model, ragged=True, suffixes=[10], candidates=[2, 7]), loss, 4).rows
    assert [row["tokens"] for row in rows if row["method"] != "separate"] == [50, 50, 100, 100]
    longest = max(Case(30, 10, 7, ragged=True).lengths)
    padded = [row["tokens"] for row in rows if row["method"] == "separate" and row["candidates"] == 7]
    assert padded == [7 * (30 + longest)] if loss != "binary" else 280 < padded[0] < 7 * (30 + longest)


def _in_fours(self, method, case, run) -> int:
    run(2)
    self._taken[method, case] = 4
    return 4


def test_ragged_lengths_spread_around_their_mean():
    lengths = Case(30, 70, 21, ragged=True).lengths
    assert sum(lengths) == 21 * 70
    assert min(lengths) in range(35, 40)
    assert max(lengths) in range(100, 106)
    assert len(set(lengths)) > 15
    assert Case(30, 70, 200, ragged=True).lengths[:20] == lengths[:20]  # more candidates begin with the same
    assert Case(30, 1, 5, ragged=True).lengths == (1,) * 5


def test_a_cross_encoder_that_moves_learned_places_has_no_ragged_cases(monkeypatch):
    learned = ScoringMethods(subject_of(make_model("gpt2")), "blocks")
    monkeypatch.setattr(ScoringMethods, "_encoder", None)
    left_out = learned.build("crossencoder", Inputs(Case(30, 10, 2, ragged=True), range(320)))
    assert left_out.reason == "it fills up on the left, which moves the places that this model learned"


def test_full_prompts_are_read_alone_once_for_all_methods_and_cases(tiny_model, monkeypatch):
    alone = []
    read = ScoringMethods._read_alone
    monkeypatch.setattr(ScoringMethods, "_read_alone", lambda self, prompt: (read(self, prompt), alone.append(self))[0])
    bench_scoring(plan(tiny_model, candidates=[2, 3, 6], methods=["batched", "trsr", "limit"]))
    assert len(alone) == 2 * (2 + 3 + 4)
    assert len(alone[0]._alone) == 4


@pytest.mark.parametrize("methods", [ScoringMethods, TrainingMethods])
def test_the_speed_of_a_wrong_result_is_never_reported(tiny_model, monkeypatch, methods):
    """The row of the limit is what a shared prefix without its mask would be."""
    monkeypatch.setattr(methods, "_trsr", methods._limit)
    monkeypatch.setattr(TrainingMethods, "_packed", lambda self, inputs: self._limit(inputs)[0]()())
    what = "log-odds" if methods is ScoringMethods else "gradients"
    wanted = plan(tiny_model, methods=["trsr"])
    bench = bench_scoring if methods is ScoringMethods else partial(bench_training, loss="binary", lora_r=4)
    with pytest.raises(ModelError, match=rf"trsr at P 30, S 5, N \d: its {what} are .* off those of separate prompts"):
        bench(wanted)


def test_a_value_that_is_no_number_is_not_right(tiny_model, monkeypatch):
    monkeypatch.setattr(ScoringMethods, "_numbers", lambda self, values: np.full(len(values), np.nan, np.float32))
    with pytest.raises(ModelError, match="batched at"):
        bench_scoring(plan(tiny_model, methods=["batched"]))


def test_a_returning_user_is_known_by_other_candidates_and_asks_for_new_ones_each_time(tiny_model, monkeypatch):
    asked = []
    score = LocalScoring.score

    def spy(self, prompts):
        prompts = list(prompts)
        asked.append((self, prompts[0].prefix, prompts[0].suffixes))
        return score(self, prompts)

    monkeypatch.setattr(LocalScoring, "score", spy)
    bench_scoring(plan(tiny_model, methods=["trsr_returning"], repeats=3))
    cold, timed = asked[::2], asked[1::2]
    assert len(timed) == 4  # the first call and three rounds
    assert len({prefix for _, prefix, _ in asked}) == 1
    assert len({suffixes for _, _, suffixes in asked}) == 8  # other candidates in every call
    assert all(before is after for (before, *_), (after, *_) in zip(cold, timed, strict=True))
    assert [engine.report.known_tokens for engine, *_ in timed] == [CASE.prefix] * 4  # the timed call knew the prefix


def test_trsr_reads_the_prefix_anew_in_every_call(tiny_model, monkeypatch):
    made = []
    start = LocalScoring.__init__
    monkeypatch.setattr(LocalScoring, "__init__", lambda self, *a, **k: (start(self, *a, **k), made.append(self))[0])
    bench_scoring(plan(tiny_model, methods=["trsr"], repeats=3))
    [scoring] = made
    assert scoring.report.tokens == 4 * CASE.least
    assert scoring.cache is None


def test_the_cross_encoder_reads_the_ids_of_the_case(tiny_model):
    tiny = load_subject(str(tiny_model), "float32")
    encoder = make_cross_encoder(tiny)
    inputs = Inputs(CASE, tiny.pool)
    pairs = pairs_of(encoder, inputs)
    read = encoder.preprocess(pairs)["input_ids"].tolist()
    assert [tuple(row) for row in read] == inputs.prompts
    letters = [tiny.pool[0], *encoder[0].tokenizer.convert_tokens_to_ids(["y", "e", "s"])]
    assert "makes other ids of these texts" in pairs_of(encoder, Inputs(CASE, letters)).reason
    assert encoder[0].model is tiny.model  # one copy of the weights


def test_without_sentence_transformers_one_line_says_so_and_the_others_go_on(tiny_model, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    rows = bench_scoring(plan(tiny_model, candidates=[1, 2], methods=["crossencoder", "trsr"])).rows
    assert [row["method"] for row in rows] == ["trsr", "trsr"]
    line = "crossencoder: left out, sentence-transformers is not installed; pip install 'trsr[crossencoder]'\n"
    assert capfd.readouterr().err.count(line) == 1


def test_methods_are_left_out_where_they_cannot_be(capfd):
    def left_out(model, name, case):
        return ScoringMethods(subject_of(model), "blocks").build(name, Inputs(case, range(320)))

    assert left_out(make_model(), "published", Case(2000, 49, 1)).reason == (
        "prompts of 2049 tokens do not fit into its 2,048"
    )
    short = make_model(max_position_embeddings=64)
    assert left_out(short, "published", CASE).reason == "the model reads 64 tokens, not its 2,048"
    assert left_out(short, "limit", Case(30, 5, 10)).note == "beyond the context"
    assert left_out(short, "limit", Case(30, 5, 6)).note == ""
    learned = make_model("gpt2", max_position_embeddings=64)
    assert "more places than the model learned" in left_out(learned, "limit", Case(30, 5, 10)).reason


def test_growth_leaves_out_what_a_smaller_case_showed_to_be_too_slow(tiny_model, monkeypatch, capfd):
    monkeypatch.setattr(cases, "GROWTH_CANDIDATES", (2, 4))
    monkeypatch.setattr(cases, "GROWTH_PREFIXES", (20, 30, 9000))
    monkeypatch.setattr("trsr.benchmarks.running.Runner._expected_seconds", _slow_when_batched)
    grown = plan(tiny_model, growth=True, limit_seconds=5, candidates=[2, 6], methods=["batched", "trsr"])
    rows = bench_scoring(grown).rows
    sizes = [(row["method"], row["prefix_tokens"], row["candidates"]) for row in rows]
    assert sizes == [
        *(("batched", 30, 2), ("trsr", 30, 2), ("trsr", 30, 4)),
        *(("trsr", 20, 6), ("trsr", 30, 6)),
    ]
    said = capfd.readouterr().err
    assert "batched: left out at P 30, S 5, N 4, where a call would take about 7 s\n" in said
    assert "P 9000, S 5, N 6: left out, longer than the model reads\n" in said


def _slow_when_batched(self, name, case) -> float:
    return 7.0 if name == "batched" and case.candidates > 2 else 0.0


def test_memory_that_runs_out_leaves_one_method_out(tiny_model, monkeypatch, capfd):
    def fail(self, inputs):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(ScoringMethods, "_batched", fail)
    rows = bench_scoring(plan(tiny_model, methods=["batched", "trsr"])).rows
    assert [row["method"] for row in rows] == ["trsr"]
    assert "batched: left out at P 30, S 5, N 6, where memory ran out\n" in capfd.readouterr().err


def test_random_weights_need_no_files_but_a_gpu_or_force(monkeypatch, capfd):
    monkeypatch.setitem(subject.SHAPES, "tiny", SHAPE)
    monkeypatch.setattr(subject, "pick_device", lambda: torch.device("cpu"))
    wanted = plan("unused", random_weights="tiny", candidates=[2], methods=METHODS[1:])
    with pytest.raises(ConfigError, match="--random-weights tiny: too slow without a GPU; add --force"):
        bench_scoring(wanted)
    forced = plan("unused", random_weights="tiny", force=True, candidates=[2], methods=METHODS[1:])
    report = bench_scoring(forced)
    assert [row["method"] for row in report.rows] == ["batched", "trsr", "trsr_returning", "limit"]
    assert report.title.startswith("scoring: tiny with random weights, float32, ")
    assert "crossencoder: left out, random weights have no tokenizer" in capfd.readouterr().err


def test_where_no_method_is_left_there_is_an_error_and_no_empty_table(tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match="no method could take part"):
        bench_scoring(plan(tiny_model, methods=["crossencoder"]))


def test_fewer_candidates_are_the_first_of_more():
    inputs = Inputs(CASE, range(1000))
    assert inputs.first(4).suffixes() == inputs.suffixes()[:4]
    assert inputs.first(4).prefix == inputs.prefix
    assert inputs.suffixes(1) != inputs.suffixes(0)
