"""Prefixes of returning users: never read twice, never taken for another's, never more memory than was given."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from slow_way import assert_same_log_odds, engine_scores, make_engine, make_prompt, slow_scores, watch_rows

from tiny import make_model, make_tokenizer, save_folder
from trsr.config import PromptConfig, RankerConfig
from trsr.ranking.packing import PrefixState
from trsr.ranking.prefix_cache import PrefixCache, prefix_key, weights_state
from trsr.ranking.ranker import Ranker

ROOM = 1 << 20
PREFIX_BYTES = 2 * 2 * (2 * 20 * 8) * 4  # layers, keys and values, heads x tokens x size, fp32


def make_tuned(seed=0):
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(seed)
    return get_peft_model(make_model("llama"), settings).eval()


def adapter_weights(model):
    return [value for name, value in model.named_parameters() if "lora_" in name]


@pytest.fixture
def tuned():
    return make_tuned()


# ---- returning users


@pytest.mark.parametrize("family", ["llama", "mistral-window", "gemma2", "gpt2"])
def test_a_returning_user_costs_the_tokens_of_the_candidates_only(family):
    model = make_model(family)
    rows = watch_rows(model)
    engine = make_engine(model, cache_bytes=ROOM)
    users = [make_prompt(30 + n, [4, 7, 1], seed=n) for n in range(3)]
    cold = engine_scores(engine, users)
    assert engine.report.tokens == 30 + 31 + 32 + 3 * 12 == sum(rows)
    rows.clear()
    again = [replace(user, suffixes=make_prompt(0, [3, 8], seed=50).suffixes + user.suffixes) for user in users]
    warm = engine_scores(engine, again)
    assert sum(rows) == 3 * (3 + 8 + 12)
    assert engine.report.tokens == 93 + 36 + sum(rows)
    for first, second, user in zip(cold, warm, users, strict=True):
        assert_same_log_odds(second[2:], first, atol=1e-5)
        assert_same_log_odds(first, slow_scores(model, user))
    report = engine.report.as_dict()
    assert (report["prefix_hits"], report["prefix_misses"], report["hit_rate"]) == (3, 3, 0.5)
    assert report["known_tokens"] == 93


@pytest.mark.parametrize(
    ("path", "dtype", "atol"),
    [("blocks", torch.float32, 1e-6), ("blocks", torch.bfloat16, 0), ("mask", torch.float32, 5e-6)],
)
def test_scores_behind_a_kept_prefix_are_those_of_the_first_time(path, dtype, atol):
    engine = make_engine(make_model("llama").to(dtype), path, cache_bytes=ROOM)
    prompts = [make_prompt(40, [5, 9, 2, 5], seed=n) for n in range(4)]
    for first, second in zip(engine_scores(engine, prompts), engine_scores(engine, prompts), strict=True):
        assert first.std() > 0.5
        assert_same_log_odds(second, first, atol)


def test_a_user_who_needs_many_passes_is_kept_and_counted_once():
    engine = make_engine(make_model("llama"), pass_tokens=30, cache_bytes=ROOM)
    prompt = make_prompt(20, [6] * 20)
    (cold,) = engine_scores(engine, [prompt])
    (warm,) = engine_scores(engine, [prompt])
    assert_same_log_odds(cold, warm, atol=1e-5)
    assert (engine.report.prefix_hits, engine.report.prefix_misses, len(engine.cache)) == (1, 1, 1)


def test_without_room_for_prefixes_none_is_kept():
    engine = make_engine(make_model("llama"), cache_bytes=0)
    prompt = make_prompt(20, [6, 3])
    list(engine.score([prompt, prompt]))  # side by side they share one reading, cache or not
    list(engine.score([prompt]))
    assert engine.cache is None
    assert engine.report.tokens == 29 + 9 + 29
    assert engine.report.as_dict()["hit_rate"] is None


def test_a_user_who_is_asked_for_twice_at_once_is_read_once_and_counts_as_found():
    engine = make_engine(make_model("llama"), cache_bytes=ROOM)
    prompt = make_prompt(20, [6])
    list(engine.score([prompt, prompt]))
    assert engine.report.tokens == 20 + 6 + 6
    assert (engine.report.prefix_hits, engine.report.prefix_misses) == (1, 1)


def test_a_full_cache_forgets_the_user_who_was_away_longest():
    engine = make_engine(make_model("llama"), cache_bytes=2 * PREFIX_BYTES)
    anna, ben, carl = (make_prompt(20, [3], seed=n) for n in range(3))
    for user in (anna, ben, anna, carl):  # ben has to go
        list(engine.score([user]))
    assert engine.cache.bytes == 2 * PREFIX_BYTES
    hits = []
    for user in (anna, carl, ben):
        before = engine.report.prefix_hits
        list(engine.score([user]))
        hits.append(engine.report.prefix_hits - before)
    assert hits == [1, 1, 0]


def test_a_prefix_of_which_memory_ran_out_is_not_kept_half():
    model = make_model("llama")
    errors = [torch.OutOfMemoryError("CUDA out of memory")]

    def fail_once(*_):
        if errors:
            raise errors.pop()

    model.model.layers[1].register_forward_pre_hook(fail_once)  # the first layer has kept its part by then
    engine = make_engine(model, cache_bytes=ROOM)
    prompt = make_prompt(20, [3, 5])
    (scores,) = engine_scores(engine, [prompt])
    (warm,) = engine_scores(engine, [prompt])
    assert engine.report.out_of_memory == 1
    assert_same_log_odds(scores, slow_scores(make_model("llama"), prompt))
    assert_same_log_odds(warm, scores, atol=1e-5)


def test_prefixes_beyond_the_bound_are_let_go_while_others_are_still_scored(monkeypatch):
    alive = []
    engine = make_engine(make_model("llama"), pass_tokens=60, cache_bytes=1)
    run = engine._run

    def watched(queue):
        run(queue)
        alive.append(sum(work.known is not None for work in queue))

    monkeypatch.setattr(engine, "_run", watched)
    list(engine.score([make_prompt(30, [6, 3], seed=n) for n in range(6)]))
    assert len(alive) > 3
    assert max(alive) <= 1


# ---- the cache by itself


@given(
    st.integers(0, 100),
    st.lists(st.tuples(st.sampled_from(["put", "get", "drop"]), st.integers(0, 5), st.integers(0, 60))),
)
def test_the_cache_is_a_list_of_the_latest_within_its_bytes(room, steps):
    cache, expected = PrefixCache(room), []  # expected: (key, bytes), latest last
    for step, number, size in steps:
        key = bytes([number])
        if step == "put" and size <= room:
            pair = (torch.zeros(size, dtype=torch.uint8), torch.zeros(0))
            cache.put(key, PrefixState(1, {0: pair}))
            expected = [entry for entry in expected if entry[0] != key] + [(key, size)]
            while sum(entry[1] for entry in expected) > room:
                expected.pop(0)
        elif step == "put":
            cache.put(key, PrefixState(1, {0: (torch.zeros(size, dtype=torch.uint8), torch.zeros(0))}))
        elif step == "get":
            state, known = cache.get(key), [entry for entry in expected if entry[0] == key]
            assert (None if state is None else state.nbytes) == (known[0][1] if known else None)
            expected = [entry for entry in expected if entry not in known] + known
        else:
            cache.drop(key)
            expected = [entry for entry in expected if entry[0] != key]
        assert cache.bytes == sum(entry[1] for entry in expected) <= room
        assert len(cache) == len(expected)
        assert (key in cache) == any(entry[0] == key for entry in expected)


def test_keys_tell_prefixes_and_weights_apart():
    prefixes = [(1, 2), (2, 1), (1, 2, 0), (1,), (), (258,), (1, 2, 3)]
    keys = {prefix_key(prefix, weights) for prefix in prefixes for weights in ("a", "b")}
    assert len(keys) == 2 * len(prefixes)
    assert prefix_key((1, 2), "a") == prefix_key([1, 2], "a")


# ---- what must not be taken for the same


def step_of_optimizer(model):
    optimizer = torch.optim.SGD(adapter_weights(model), lr=1e-6)
    adapter_weights(model)[-1].sum().backward()
    optimizer.step()


def exchange_two_values(model):
    value = adapter_weights(model)[0].data
    value[0, 0], value[0, 1] = value[0, 1].clone(), value[0, 0].clone()


def exchange_layers(model):
    first, second = (
        layer.self_attn.q_proj.lora_B["default"].weight.data for layer in model.base_model.model.model.layers
    )
    kept = first.clone()
    first.copy_(second)
    second.copy_(kept)


def second_adapter(model):
    model.add_adapter("other", copy.deepcopy(model.peft_config["default"]))
    model.set_adapter("other")


def copy_same_values_of_another(model):
    for value, other in zip(adapter_weights(model), adapter_weights(make_tuned(seed=1)), strict=True):
        value.data.copy_(other)


def scale(model):
    for module in model.modules():
        if hasattr(module, "scale_layer"):
            module.scale_layer(0.5)


CHANGES = {
    "an optimiser step": step_of_optimizer,
    "other values copied in": copy_same_values_of_another,
    "two values exchanged": exchange_two_values,
    "two layers exchanged": exchange_layers,
    "another adapter": second_adapter,
    "adapters off": lambda model: model.base_model.disable_adapter_layers(),
    "merged": lambda model: model.merge_adapter(),
    "scaled": scale,
    "another dtype": lambda model: model.to(torch.bfloat16),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_model_never_uses_prefixes_of_before(tuned, change):
    engine, prompt = make_engine(tuned, cache_bytes=ROOM), make_prompt(25, [5, 3, 8])
    engine_scores(engine, [prompt])
    change(tuned)
    (scores,) = engine_scores(engine, [prompt])
    assert (engine.report.prefix_hits, engine.report.prefix_misses) == (0, 2)
    half = tuned.dtype != torch.float32
    assert_same_log_odds(scores, slow_scores(tuned, prompt), atol=0.3 if half else 1e-4)


def test_a_plain_model_in_another_dtype_never_uses_prefixes_of_before():
    model = make_model("llama")
    engine, prompt = make_engine(model, cache_bytes=ROOM), make_prompt(25, [5, 3, 8])
    (exact,) = engine_scores(engine, [prompt])
    model.to(torch.bfloat16)
    (scores,) = engine_scores(engine, [prompt])
    assert engine.report.prefix_hits == 0
    assert_same_log_odds(scores, exact, atol=0.3)


def test_an_adapter_that_is_switched_off_and_on_finds_both_kinds_of_prefixes(tuned):
    engine, prompt = make_engine(tuned, cache_bytes=ROOM), make_prompt(25, [5, 3, 8])
    (first,) = engine_scores(engine, [prompt])
    with tuned.disable_adapter():
        (plain,) = engine_scores(engine, [prompt])
    (again,) = engine_scores(engine, [prompt])
    with tuned.disable_adapter():
        (plain_again,) = engine_scores(engine, [prompt])
    assert (first - plain).abs().max() > 0.01
    assert_same_log_odds(plain, slow_scores(make_model("llama"), prompt))
    assert_same_log_odds(again, first, atol=1e-5)
    assert_same_log_odds(plain_again, plain, atol=1e-5)
    assert (engine.report.prefix_hits, engine.report.prefix_misses) == (2, 2)


def test_an_unchanged_model_is_known_again_and_another_one_is_not(tuned):
    state = weights_state(tuned)
    list(make_engine(tuned).score([make_prompt(9, [3])]))
    assert weights_state(tuned) == state
    other = make_tuned()
    assert weights_state(other) != state  # base weights are not read: only the same object counts


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp("base") / "model", make_model("llama"), make_tokenizer())


def test_the_ranker_knows_a_user_again_until_anything_in_the_prefix_changes(base):
    config = RankerConfig(base=str(base), dtype="float32", prefix_cache_mb=1)
    ranker = Ranker.from_base(config, PromptConfig(), ["title", "subject"])
    history = [{"title": "Whales", "subject": "sea"}, {"title": "Ropes", "subject": "sea"}]
    candidates = [{"title": "Sea birds"}, {"title": "Green lamps"}]
    calls = {
        "first": (history, candidates, "Likes the sea"),
        "other candidates": (history, [*candidates[::-1], {"title": "Old boats"}], "Likes the sea"),
        "changed summary": (history, candidates, "Likes the see"),
        "no summary": (history, candidates, ""),
        "changed recent item": ([history[0], {"title": "Rope", "subject": "sea"}], candidates, "Likes the sea"),
        "changed attribute": ([history[0], {"title": "Ropes", "subject": "air"}], candidates, "Likes the sea"),
        "other order": (history[::-1], candidates, "Likes the sea"),
        "first again": (history, candidates, "Likes the sea"),
    }
    hits, scores = {}, {}
    for name, (recent, items, summary) in calls.items():
        before = ranker.scoring.report.prefix_hits
        scores[name] = {entry.index: entry.log_odds for entry in ranker.rank(recent, items, summary)}
        hits[name] = ranker.scoring.report.prefix_hits - before
    assert [name for name, hit in hits.items() if hit] == ["other candidates", "first again"]
    assert scores["first again"] == pytest.approx(scores["first"], abs=1e-5)
    assert all(
        scores[name] != pytest.approx(scores["first"], abs=1e-5) for name in calls if not hits[name] and name != "first"
    )
    assert ranker.scoring.report.as_dict()["hit_rate"] == 2 / 8


def test_another_template_is_another_prefix(base):
    from trsr.prompts.items import ItemTexts
    from trsr.prompts.ranking import RankingPrompts
    from trsr.prompts.templates import TemplateSet

    config = RankerConfig(base=str(base), dtype="float32", prefix_cache_mb=1)
    ranker = Ranker.from_base(config, PromptConfig(), ["title", "subject"])
    items = {"a": {"title": "Whales", "subject": "sea"}, "b": {"title": "Ropes", "subject": "sea"}}
    for template in ("generic", "books", "generic"):
        templates = TemplateSet(template)
        texts = ItemTexts(items, ranker.attributes, templates, ranker.chat, show_ids=False)
        prompts = RankingPrompts(templates, texts, ranker.chat, ranker.prompt)
        list(ranker.score([prompts.build("Likes the sea", ["a"], ["b"])]))
    assert (ranker.scoring.report.prefix_hits, ranker.scoring.report.prefix_misses) == (1, 2)
