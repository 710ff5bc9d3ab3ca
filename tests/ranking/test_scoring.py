"""The scoring engine: what comes out first, how large a pass is, and what happens when memory runs out."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from slow_way import assert_same_log_odds, engine_scores, make_engine, make_prompt, slow_scores, watch_rows

from tiny import make_model, make_tokenizer, save_folder
from trsr.config import PromptConfig, RankerConfig
from trsr.data.scoring import RankingRequest
from trsr.errors import ConfigError, ModelError
from trsr.ranking.packing import Row
from trsr.ranking.ranker import Ranker, RankerScorer

MODEL = make_model("llama")
OUT_OF_MEMORY = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "allocator": RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
    "python": MemoryError(),
}


def make_users(count, seed=0):
    """Users of all sizes, long after short, so that passes take them in another order."""
    return [
        make_prompt(5 + 7 * (n % 5), [1 + (n * m) % 9 for m in range(1, 2 + n % 4)], seed + n) for n in range(count)
    ]


def count_tokens(prompt):
    return len(prompt.prefix) + sum(map(len, prompt.suffixes))


def fail_above(model, tokens, error):
    """Let every row of more than `tokens` tokens run out of memory; gives the lengths of rows that failed."""
    failed = []

    def check(_module, _args, kwargs):
        length = kwargs["input_ids"].shape[1]
        if length > tokens:
            failed.append(length)
            raise error

    model.get_decoder().register_forward_pre_hook(check, with_kwargs=True)
    return failed


@pytest.fixture
def model():
    return make_model("llama")


@pytest.mark.parametrize("pass_tokens", [40, 100, 4096])
def test_results_come_in_input_order_although_passes_take_long_users_first(pass_tokens):
    prompts = make_users(23)
    engine = make_engine(MODEL, pass_tokens=pass_tokens)
    results = engine_scores(engine, prompts)
    assert [len(scores) for scores in results] == [len(prompt.suffixes) for prompt in prompts]
    for scores, prompt in zip(results, prompts, strict=True):
        assert_same_log_odds(scores, slow_scores(MODEL, prompt))


def test_the_first_result_comes_long_before_the_last_prompt_is_asked_for():
    read = 0

    def prompts():
        nonlocal read
        for prompt in itertools.islice(itertools.cycle(make_users(20)), 400):
            read += 1
            yield prompt

    scores = make_engine(MODEL, pass_tokens=100).score(prompts())
    next(scores)
    assert 1 <= read < 40
    before = read
    assert len([next(scores) for _ in range(100)]) == 100
    assert before < read < 160
    assert len(list(scores)) == 299


def test_an_endless_stream_of_prompts_can_be_scored():
    scores = make_engine(MODEL, pass_tokens=50).score(itertools.cycle(make_users(5)))
    first = [next(scores) for _ in range(10)]
    for one, again in zip(first[:5], first[5:], strict=True):
        assert_same_log_odds(torch.from_numpy(one), torch.from_numpy(again), atol=1e-5)


def test_no_prompts_give_no_scores():
    engine = make_engine(MODEL)
    assert list(engine.score([])) == []
    assert engine.report.as_dict()["tokens_per_second"] is None


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.lists(st.integers(1, 20), min_size=1, max_size=8)), max_size=6),
    pass_tokens=st.integers(1, 150),
)
def test_a_pass_holds_no_more_tokens_than_it_may_unless_for_one_candidate(sizes, pass_tokens):
    rows = []
    plain = Row.of.__func__

    def spy(cls, parts, device, path):
        row = plain(cls, parts, device, path)
        rows.append((row.ids.shape[1], len(row.ends)))
        return row

    prompts = [make_prompt(*size, seed=index) for index, size in enumerate(sizes)]
    engine = make_engine(MODEL, pass_tokens=pass_tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Row, "of", classmethod(spy))
        results = list(engine.score(prompts))
    assert [len(scores) for scores in results] == [len(prompt.suffixes) for prompt in prompts]
    assert all(tokens <= pass_tokens or candidates == 1 for tokens, candidates in rows)
    assert engine.report.passes == len(rows)
    # every prefix and every suffix once, however many passes there are
    assert sum(tokens for tokens, _ in rows) == sum(map(count_tokens, prompts)) == engine.report.tokens


def test_the_prefix_is_read_once_however_many_passes_there_are(model):
    rows = watch_rows(model)
    engine = make_engine(model, pass_tokens=40)
    list(engine.score([make_prompt(25, [6] * 20)]))
    assert rows[0] == 25 + 2 * 6
    assert rows[1:] == [36, 36, 36]
    assert engine.report.tokens == 25 + 20 * 6


def test_users_share_passes(model):
    rows = watch_rows(model)
    list(make_engine(model, pass_tokens=100).score([make_prompt(20, [5], seed=n) for n in range(8)]))
    assert rows == [100, 100]


def test_the_report_adds_up():
    prompts = make_users(9)
    engine = make_engine(MODEL, pass_tokens=64)
    list(engine.score(prompts))
    report = engine.report.as_dict()
    assert report["prompts"] == 9
    assert report["candidates"] == sum(len(prompt.suffixes) for prompt in prompts)
    assert report["tokens"] == sum(map(count_tokens, prompts))
    assert report["pass_tokens"] == 64
    assert report["out_of_memory"] == report["known_tokens"] == 0
    assert report["tokens_per_second"] == report["tokens"] / report["seconds"]
    assert report["hit_rate"] is None


def test_a_tuned_model_is_scored_with_its_adapter(model):
    prompt = make_prompt(20, [5, 9, 3])
    plain = slow_scores(model, prompt)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)).eval()
    (scores,) = engine_scores(make_engine(tuned, pass_tokens=30), [prompt])
    assert_same_log_odds(scores, slow_scores(tuned, prompt))
    assert (scores - plain).abs().max() > 0.01


# ---- memory that runs out


@pytest.mark.parametrize("error", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_scores_are_the_same_when_memory_runs_out_on_the_way(model, error, capsys):
    prompts = make_users(12)
    expected = engine_scores(make_engine(MODEL, pass_tokens=512), prompts)
    failed = fail_above(model, 60, error)
    engine = make_engine(model, pass_tokens=512)
    for scores, plain in zip(engine_scores(engine, prompts), expected, strict=True):
        assert_same_log_odds(scores, plain, atol=1e-5)
    assert engine.report.out_of_memory == len(failed) > 1
    assert 30 <= engine.report.pass_tokens <= 60  # lowered as far as needed, and no further
    assert engine.report.tokens == sum(map(count_tokens, prompts))  # failed passes are not counted
    assert "memory ran out on a pass of" in "".join(capsys.readouterr())


def test_a_budget_far_above_what_there_is_to_do_is_lowered_in_few_steps(model):
    failed = fail_above(model, 100, OUT_OF_MEMORY["cuda"])
    (scores,) = engine_scores(make_engine(model, pass_tokens=1 << 20), [make_prompt(40, [8] * 20)])
    assert failed == [200]
    assert len(scores) == 20


@pytest.mark.parametrize("error", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_memory_that_runs_out_behind_a_known_prefix_costs_no_second_reading(model, error):
    prompt = make_prompt(40, [8] * 30)
    fail_above(model, 70, error)
    engine = make_engine(model, pass_tokens=240, cache_bytes=1 << 20)
    (cold,) = engine_scores(engine, [prompt])
    engine.report.pass_tokens = 240
    rows = watch_rows(model)
    (warm,) = engine_scores(engine, [prompt])
    assert_same_log_odds(cold, slow_scores(MODEL, prompt))
    assert_same_log_odds(warm, cold, atol=1e-5)
    assert sum(rows) == 30 * 8


@pytest.mark.parametrize("error", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_one_candidate_that_does_not_fit_is_one_sentence(model, error):
    fail_above(model, 20, error)
    with pytest.raises(ModelError) as raised:
        list(make_engine(model).score([make_prompt(30, [5, 5, 5])]))
    assert str(raised.value) == (
        "memory ran out on one prompt of 35 tokens; shorten prompts (prompt.max_tokens), take a smaller dtype or "
        "model, or free memory"
    )


def test_the_example_that_does_not_fit_is_the_one_that_is_named(model):
    fail_above(model, 60, torch.OutOfMemoryError("no more"))
    prompts = [make_prompt(20, [5, 5]), make_prompt(70, [5]), make_prompt(9, [3])]
    scores = make_engine(model, pass_tokens=500).score(prompts)
    assert_same_log_odds(torch.from_numpy(next(scores)), slow_scores(MODEL, prompts[0]))
    with pytest.raises(ModelError, match="one prompt of 75 tokens"):
        next(scores)


def test_threads_that_score_at_once_get_their_own_scores(model):
    """A web server's workers share one model."""
    users = [make_prompt(20 + n, [5, 3 + n], seed=n) for n in range(4)]
    expected = [slow_scores(MODEL, user) for user in users]
    engines = [make_engine(model), make_engine(model, cache_bytes=1 << 20)]

    def work(number):
        scores = [engine_scores(engines[number % 2], [users[number]])[0] for _ in range(15)]
        return [(part - expected[number]).abs().max().item() for part in scores]

    with ThreadPoolExecutor(4) as pool:
        assert max(difference for found in pool.map(work, range(4)) for difference in found) < 1e-4
    assert model.config._attn_implementation == "sdpa"


def test_requests_may_come_from_a_generator(tmp_path):
    tokenizer = make_tokenizer()
    folder = save_folder(tmp_path / "base", make_model("llama", vocabulary=len(tokenizer)), tokenizer)
    items = {f"i{n}": {"title": f"Book {n}" * (n + 1)} for n in range(8)}
    ranker = Ranker.from_base(RankerConfig(base=str(folder), dtype="float32"), PromptConfig(max_tokens=1024), ["title"])
    scorer = RankerScorer(ranker, ranker.prompts(items), {})
    requests = [RankingRequest(f"e{n}", "u", (f"i{n}",), tuple(items)[: n + 1]) for n in range(6)]
    listed = list(scorer.score(requests))
    streamed = list(scorer.score(request for request in requests))
    assert [part.tolist() for part in streamed] == [part.tolist() for part in listed]
    assert [len(part) for part in streamed] == [1, 2, 3, 4, 5, 6]


def test_a_prompt_without_candidates_has_no_scores(model):
    scores = engine_scores(make_engine(model), [make_prompt(9, [3]), make_prompt(9, []), make_prompt(8, [2, 2])])
    assert [len(part) for part in scores] == [1, 0, 2]


def test_prompts_that_begin_alike_read_the_prefix_once(model):
    prefix = make_prompt(40, [1]).prefix
    prompts = [replace(make_prompt(40, sizes, seed), prefix=prefix) for seed, sizes in enumerate([[5, 6], [7], [3, 3]])]
    engine = make_engine(model)
    for scores, prompt in zip(engine_scores(engine, prompts), prompts, strict=True):
        assert_same_log_odds(scores, slow_scores(MODEL, prompt))
    assert engine.report.tokens == 40 + 5 + 6 + 7 + 3 + 3


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("odd"), KeyboardInterrupt()]
)
def test_other_errors_are_not_taken_for_memory_that_ran_out(model, error):
    fail_above(model, 20, error)
    engine = make_engine(model)
    with pytest.raises(type(error)) as raised:
        list(engine.score([make_prompt(30, [5, 5, 5])]))
    assert raised.value is error
    assert engine.report.out_of_memory == 0


# ---- what cannot be scored


def test_a_prompt_longer_than_the_context_is_one_sentence_whoever_stands_before_it():
    engine = make_engine(make_model("llama", max_position_embeddings=64))
    with pytest.raises(ConfigError) as raised:
        list(engine.score([make_prompt(10, [3]), make_prompt(60, [3, 5])]))
    assert str(raised.value) == (
        "a prompt of 65 tokens: this llama model has a context of 64 tokens; lower prompt.max_tokens or take another "
        "model"
    )


def test_scores_that_are_no_numbers_name_their_example_and_not_another(tmp_path):
    model = make_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[ord("~") - ord("!")] = float("nan")  # the token of "~" alone
    folder = save_folder(tmp_path / "model", make_model("llama"), make_tokenizer())
    ranker = Ranker.from_base(RankerConfig(base=str(folder), dtype="float32"), PromptConfig(), ["title"])
    ranker = ranker.with_model(model)
    items = {"a": {"title": "Sea"}, "b": {"title": "~"}, "c": {"title": "Lamps"}}
    requests = [RankingRequest(f"e{n}", "u", (), (item, "a")) for n, item in enumerate(["a", "c", "b", "c"])]
    scores = RankerScorer(ranker, ranker.prompts(items), {}).score(requests)
    assert [len(next(scores)) for _ in range(2)] == [2, 2]
    with pytest.raises(
        ModelError, match=r"^example e2: the model gave 1 scores that are not finite numbers; try dtype"
    ):
        next(scores)
