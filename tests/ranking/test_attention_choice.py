"""The way of attention: the one asked for, the one known to be good, or the fastest that was measured."""

import pytest
import torch
from slow_way import ANSWERS, assert_same_log_odds, engine_scores, make_prompt, slow_scores

from tiny import make_model, make_tokenizer, save_folder
from trsr.config import PromptConfig, RankerConfig
from trsr.ranking import attention, attention_choice
from trsr.ranking.attention_choice import choose_attention
from trsr.ranking.packing import Layout
from trsr.ranking.ranker import Ranker
from trsr.ranking.scoring import LocalScoring


class Clock:
    """A clock that a pass by each path moves on by so many seconds, another first time; it notes what ran."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.rows = 0.0, seconds, []
        monkeypatch.setattr(attention_choice.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(attention_choice, "last_hidden", self.run)

    def run(self, model, row):
        path = row.layout.path
        self.rows.append((path, row.ids.shape[1]))
        runs = sum(path == other for other, _ in self.rows)
        self.now += 100.0 if runs == 1 else self.seconds[path] * (1 + (runs == 3))  # slow to warm up, slow once
        return torch.zeros(1)


@pytest.mark.parametrize("family", ["llama", "mistral-window", "gpt2", "gemma3"])
def test_on_a_cpu_blocks_are_taken_unmeasured(family):
    for asked in ("auto", "blocks"):
        choice = choose_attention(make_model(family), asked, 512)
        assert (choice.path, choice.seconds) == ("blocks", {})


@pytest.mark.parametrize("asked", ["auto", "blocks"])
def test_models_with_capped_scores_take_the_mask(asked):
    assert choose_attention(make_model("gemma2"), asked, 512).path == "mask"


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("asked", ["mask", "flex"])
def test_what_is_asked_for_is_taken_unmeasured(family, asked, monkeypatch):
    clock = Clock(monkeypatch, {})
    choice = choose_attention(make_model(family), asked, 512)
    assert (choice.path, choice.seconds, clock.rows) == (asked, {}, [])


@pytest.mark.parametrize(("blocks", "mask"), [(1.0, 2.0), (3.0, 2.0)])
def test_the_fastest_of_what_was_measured_is_taken(monkeypatch, blocks, mask):
    Clock(monkeypatch, {"blocks": blocks, "mask": mask})
    choice = choose_attention(make_model("llama"), "measure", 512)
    assert choice.seconds == {"blocks": blocks, "mask": mask}  # medians, without the first run of each
    assert choice.path == ("blocks" if blocks < mask else "mask")


def test_blocks_are_not_measured_for_capped_scores(monkeypatch):
    clock = Clock(monkeypatch, {"mask": 2.0})
    choice = choose_attention(make_model("gemma2"), "measure", 512)
    assert (choice.path, set(choice.seconds)) == ("mask", {"mask"})
    assert {path for path, _ in clock.rows} == {"mask"}


@pytest.mark.parametrize(("context", "longest"), [(8192, 768 + 64), (512, 512), (100, 100), (64, 64), (20, 20), (2, 2)])
def test_what_is_measured_fits_into_the_context(monkeypatch, context, longest):
    seen = []
    clock = Clock(monkeypatch, {"blocks": 1.0, "mask": 2.0})
    monkeypatch.setattr(
        attention_choice,
        "last_hidden",
        lambda model, row: seen.append(int(row.positions.max()) + 1) or clock.run(model, row),
    )
    choose_attention(make_model("llama", max_position_embeddings=context), "measure", 512)
    assert all(length <= longest for length in seen)
    assert max(seen) > longest // 2


def test_measuring_runs_the_model_and_leaves_it_as_it_was():
    model = make_model("llama", max_position_embeddings=160)
    prompt = make_prompt(9, [4, 2])
    before = slow_scores(model, prompt)
    choice = choose_attention(model, "measure", 512)
    assert set(choice.seconds) == {"blocks", "mask"}
    assert all(seconds > 0 for seconds in choice.seconds.values())
    assert choice.seconds[choice.path] == min(choice.seconds.values())
    assert torch.equal(slow_scores(model, prompt), before)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize(
    ("family", "asked", "taken"),
    [
        ("llama", "auto", "_by_blocks"),
        ("llama", "blocks", "_by_blocks"),
        ("llama", "mask", "_by_mask"),
        ("llama", "flex", "_by_rule"),
        ("gemma2", "auto", "_by_mask"),
        ("gemma2", "blocks", "_by_mask"),
        ("gemma2", "flex", "_by_rule"),
    ],
)
def test_the_way_that_was_chosen_is_the_way_that_is_gone(monkeypatch, family, asked, taken):
    ways = []
    for name in ("_by_blocks", "_by_mask", "_by_rule"):
        plain = getattr(attention, name)
        monkeypatch.setattr(attention, name, lambda *args, n=name, f=plain, **more: ways.append(n) or f(*args, **more))
    model, prompt = make_model(family), make_prompt(20, [3, 5])
    scoring = LocalScoring(model, ANSWERS, choose_attention(model, asked, 512).path, 4096)
    (scores,) = engine_scores(scoring, [prompt])
    assert ways == [taken] * 2  # layers
    assert_same_log_odds(scores, slow_scores(model, prompt))


def test_the_setting_of_the_ranker_reaches_its_rows(tmp_path, monkeypatch):
    folder = save_folder(tmp_path / "model", make_model("llama"), make_tokenizer())
    paths = []
    plain = Layout.mask
    monkeypatch.setattr(Layout, "mask", lambda self, window: paths.append(self.path) or plain(self, window))
    for asked in ("mask", "blocks"):
        config = RankerConfig(base=str(folder), dtype="float32", attention=asked)
        ranker = Ranker.from_base(config, PromptConfig(), ["title"])
        ranker.rank([], [{"title": "Sea birds"}])
        assert ranker.attention_choice.path == asked
    assert set(paths) == {"mask"}
