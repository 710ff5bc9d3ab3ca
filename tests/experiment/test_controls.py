"""A ranker that ignores the history or the texts, or that goes by the place, is found; one that reads is not.

The rankers are fakes that stand behind the real `RankerScorer`, on people with a taste that items say in words.
"""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from baselines.small_world import world_config, write_world
from experiment.tiny_shop import config_of, make_base, make_shop
from trsr.baselines.fitting import mark_unknown
from trsr.config import CheckConfig
from trsr.data.columns import TEST
from trsr.experiment.checks import controls
from trsr.experiment.checks.control_results import control_results
from trsr.experiment.checks.controls import is_controlled, score_controls
from trsr.experiment.run import run_experiment
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.scoring import score_into
from trsr.experiment.tasks import make_tasks
from trsr.prompts.ranking import RankingPrompts
from trsr.ranking.ranker import RankerScorer


@dataclass(frozen=True)
class Prompt:
    summary: str
    history: list
    candidates: list  # of (id, shown text), as is the history


@dataclass(frozen=True)
class Prompts:
    rows: dict

    def build(self, summary, history, candidates):
        shown = [[(item, self.rows[item]["title"]) for item in items] for items in (history[-3:], candidates)]
        return Prompt(summary, *shown)


@dataclass(frozen=True)
class FakeRanker:
    """Scores a prompt by `rule`; the place of a candidate is its place in the list."""

    rule: object
    attention: str = "auto"
    popularity: object = None

    @property
    def attention_choice(self):
        return SimpleNamespace(path="mask")

    def prompts(self, rows):
        return Prompts(rows)

    def score(self, prompts):
        for prompt in prompts:
            yield np.array([self.rule(prompt, place) for place in range(len(prompt.candidates))], dtype=np.float32)


def words(text):
    return set(text.split())


def reads(prompt, place):
    """How many words of the candidate the history or the summary has, and a little of its letters against ties."""
    text = prompt.candidates[place][1]
    known = words(prompt.summary).union(*(words(shown) for _, shown in prompt.history))
    return len(words(text) & known) + 1e-3 * (hash_of(text) % 97)


def hash_of(text):
    return sum(ord(char) * (at + 1) for at, char in enumerate(text))


def taste(item):
    return int(item[1:]) % 4


def by_ids(prompt, place):
    """Knows the taste of an item by its id, whatever its text says."""
    item = prompt.candidates[place][0]
    return sum(taste(item) == taste(had) for had, _ in prompt.history) + 1e-3 * int(item[1:])


def by_ids_and_texts(prompt, place):
    return by_ids(prompt, place) + 0.5 * reads(prompt, place)


def without_history(prompt, place):
    return hash_of(prompt.candidates[place][1]) % 89


def by_place(prompt, place):
    return reads(prompt, place) - 0.3 * place


@dataclass(frozen=True)
class KnowsTargets:
    """Has the right answers from elsewhere; the history only moves its scores a little."""

    answers: dict

    def score(self, requests):
        for request in requests:
            noise = hash_of("".join(request.history)) % 83 / 83
            places = np.arange(len(request.candidates))
            right = np.array([item == self.answers[request.example_id] for item in request.candidates])
            order = np.argsort([hash_of(item) for item in request.candidates])
            yield (3 * right + 2 * noise * np.sin(places[order])).astype(np.float32)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    config = world_config(write_world(folder / "world"), baselines=["popularity", "item_knn"])
    return config, make_tasks(config)


class Run:
    """A run folder in which one model is scored, with its controls."""

    def __init__(self, folder, world):
        (self.config, self.tasks), self.folder, self.timed = world, RunFolder(folder), []

    @contextmanager
    def time(self, name):
        self.timed.append(name)
        yield

    def score(self, name, scorer):
        score_into(self.folder.scores(name), name, scorer, self.tasks.of(TEST))
        self.control(name, scorer)

    def control(self, name, scorer):
        score_controls(self.folder, self.tasks, self.config, name, scorer, self.time)

    def lines(self):
        content, lines = control_results(self.folder, self.tasks, self.config)
        return content, {line["check"].partition(" (")[0]: line for line in lines}


HISTORY = "the ranking needs the user's own history"
TEXTS = "the ranking needs the items' own texts"
PLACES = "another order of the candidates changes no score"


def ranker(rule, tasks, summaries=None):
    fake = FakeRanker(rule)
    return RankerScorer(fake, fake.prompts(tasks.catalogue), summaries or {})


def results(tmp_path, world, scorer, name="trsr-none"):
    run = Run(tmp_path, world)
    run.score(name, scorer)
    content, lines = run.lines()
    return content[name], lines


def test_a_ranker_that_reads_history_and_texts_is_found_clean(tmp_path, world):
    content, lines = results(tmp_path, world, ranker(reads, world[1]))
    assert {check: line["result"] for check, line in lines.items()} == dict.fromkeys((HISTORY, TEXTS, PLACES), "ok")
    history, texts, places = (content[kind] for kind in ("history", "texts", "places"))
    assert (history["examples"], history["users"], places["examples"]) == (40, 40, 8)
    assert history["real"]["mean"] > 0.8
    assert history["exchanged"]["mean"] < 0.62
    assert history["drop"]["mean"] == pytest.approx(history["real"]["mean"] - history["exchanged"]["mean"])
    assert history["drop"]["low"] > 0.1
    assert history["p"] < 0.01
    assert abs(texts["exchanged"]["mean"] - 0.5) < 0.12
    assert places["change"] == 0


def test_a_summary_is_exchanged_with_the_history(tmp_path, world):
    """A ranker that reads the summary alone hangs on it, too."""
    tasks = world[1]
    tastes = ["garden", "engine", "violin", "bread"]
    summaries = {task.request.example_id: tastes[taste(task.request.history[-1])] for task in tasks.of(TEST)}

    def reads_summary(prompt, place):
        return reads(Prompt(prompt.summary, [], prompt.candidates), place)

    _, lines = results(tmp_path, world, ranker(reads_summary, tasks, summaries))
    assert lines[HISTORY]["result"] == "ok"
    assert ", p = .000, 40 users" in lines[HISTORY]["detail"]


def test_a_ranker_that_ignores_the_history_is_found(tmp_path, world):
    _, lines = results(tmp_path, world, ranker(without_history, world[1]))
    assert lines[HISTORY]["result"] == "look"
    assert "scores change by 0.0% of their spread only: the model ignores the history" in lines[HISTORY]["detail"]
    assert lines[TEXTS]["result"] == lines[PLACES]["result"] == "ok"


def test_a_scorer_that_is_as_good_with_any_history_is_found(tmp_path, world):
    answers = {task.request.example_id: task.targets[0] for task in world[1].of(TEST)}
    content, lines = results(tmp_path, world, KnowsTargets(answers), "item_knn")
    assert content["history"]["change"] > 0.05
    assert lines[HISTORY]["result"] == "look"
    assert "no drop (a drop of" in lines[HISTORY]["detail"]
    assert "what the model knows is not from the history" in lines[HISTORY]["detail"]


def test_a_ranker_that_ignores_the_texts_is_found(tmp_path, world):
    content, lines = results(tmp_path, world, ranker(by_ids, world[1]))
    assert content["texts"]["exchanged"]["mean"] > 0.8
    assert lines[HISTORY]["result"] == "ok"
    assert lines[TEXTS]["result"] == "look"
    assert "scores change by 0.0% of their spread only: the model ignores the texts" in lines[TEXTS]["detail"]


def test_a_ranker_that_knows_items_by_more_than_their_texts_is_found(tmp_path, world):
    content, lines = results(tmp_path, world, ranker(by_ids_and_texts, world[1]))
    assert content["texts"]["change"] > 0.05
    assert lines[TEXTS]["result"] == "look"
    assert "not chance: something other than the texts carries the ranking" in lines[TEXTS]["detail"]


def test_a_ranker_that_goes_by_the_place_is_found(tmp_path, world):
    _, lines = results(tmp_path, world, ranker(by_place, world[1]))
    assert lines[PLACES]["result"] == "look"
    assert lines[PLACES]["detail"].endswith("score each alone, or report the mean over orders")


def test_a_ranker_at_chance_has_nothing_to_lose(tmp_path, world):
    def noise(prompt, place):
        return hash_of(prompt.candidates[place][1] + "".join(shown for _, shown in prompt.history)) % 89

    _, lines = results(tmp_path, world, ranker(noise, world[1]))
    assert lines[HISTORY]["result"] == "ok"
    assert "no better than chance with the own history" in lines[HISTORY]["detail"]


def test_few_users_are_said_to_be_too_few(tmp_path, world):
    config = world[0].model_copy(update={"checks": world[0].checks.model_copy(update={"control_examples": 4})})
    content, lines = results(tmp_path, (config, world[1]), ranker(by_ids_and_texts, world[1]))
    assert content["history"]["users"] == 4
    for check in (HISTORY, TEXTS):
        assert lines[check]["result"] == "ok"
        assert lines[check]["detail"].endswith("; too few users to tell, raise checks.control_examples")


def test_every_control_shows_another_user_another_text_or_another_order(world):
    config, tasks = world
    sample = controls._draw(tasks, config, 9)
    assert len(sample.tasks) == 40
    real = {task.request.example_id: task for task in tasks.of(TEST)}
    for task in sample.tasks:
        assert (sum(task.labels), len(task.labels)) == (1, 10)
        whole = real[task.request.example_id]
        assert dict(zip(task.request.candidates, task.labels, strict=True)).items() <= (
            dict(zip(whole.request.candidates, whole.labels, strict=True)).items()
        )
    _, exchanged = controls._exchange("history", KnowsTargets({}), sample, tasks, 1)
    for task in exchanged:
        assert task.request.user_id != real[task.request.example_id].request.user_id
        donor = next(other for other in real.values() if other.request.user_id == task.request.user_id)
        assert task.request.history == donor.request.history
    assert len({task.request.user_id for task in exchanged}) == 40
    rows = controls._other_texts(tasks, sample.tasks, 1).catalogue
    assert all(rows[item]["title"] != tasks.catalogue[item]["title"] for item in rows)
    _, moved = controls._exchange("places", KnowsTargets({}), sample, tasks, 1)
    for task in moved:
        asked = next(one for one in sample.tasks if one.request.example_id == task.request.example_id)
        assert task.request.candidates != asked.request.candidates
        assert sorted(zip(task.request.candidates, task.labels, strict=True)) == sorted(
            zip(asked.request.candidates, asked.labels, strict=True)
        )


def test_an_unknown_candidate_does_not_make_a_baseline_look_as_if_the_others_decided(tmp_path, world):
    """It stands below the lowest known one of the candidates asked, so fewer candidates would move it."""
    config = world[0].model_copy(update={"checks": CheckConfig(control_examples=40, control_negatives=2)})

    class WithoutSome:
        def score(self, requests):
            for request in requests:
                codes = np.array([-1 if hash_of(item) % 3 == 0 else 1 for item in request.candidates])
                values = np.array([hash_of(request.user_id + item) % 89 for item in request.candidates])
                yield mark_unknown(codes, values)

    content, lines = results(tmp_path, (config, world[1]), WithoutSome(), "item_knn")
    assert (content["places"]["change"], lines[PLACES]["result"]) == (0, "ok")


def test_controls_that_are_scored_are_not_scored_again(tmp_path, world):
    run = Run(tmp_path, world)
    run.score("trsr-none", ranker(reads, world[1]))
    assert run.timed == ["controls trsr-none"]
    before = run.lines()

    def refuse(prompt, place):
        raise AssertionError("scored again")

    run.control("trsr-none", ranker(refuse, world[1]))
    assert run.timed == ["controls trsr-none"]
    assert run.lines() == before
    (tmp_path / "controls" / "trsr-none" / "texts.parquet").unlink()
    run.control("trsr-none", ranker(reads, world[1]))
    assert run.lines() == before


def test_only_what_can_hang_on_a_history_is_controlled(tmp_path, world):
    run = Run(tmp_path, world)
    for name in ("popularity", "oracle"):
        run.score(name, KnowsTargets({task.request.example_id: "" for task in world[1].of(TEST)}))
        assert not (tmp_path / "controls" / name).exists()
    assert is_controlled(run.folder, run.config, "popularity")
    assert not is_controlled(run.folder, run.config, "item_knn")


def test_one_user_alone_has_no_other_history(tmp_path, world):
    config, tasks = world
    run = Run(tmp_path, world)
    only = [task for task in tasks.of(TEST) if task.request.user_id == "u00"]
    alone = SimpleNamespace(of=lambda split: only, catalogue=tasks.catalogue, candidates=tasks.candidates)
    run.tasks = alone
    run.score("item_knn", KnowsTargets({task.request.example_id: task.targets[0] for task in only}))
    assert is_controlled(run.folder, config, "item_knn")
    content, lines = run.lines()
    assert content["item_knn"]["history"] is None
    assert lines[HISTORY]["detail"] == "not tried: no other user to exchange with"


def read(run, name):
    return json.loads((run / name).read_text(encoding="utf-8"))


def test_a_run_with_a_language_model_controls_it_and_says_so(tmp_path, monkeypatch):
    base, shop = make_base(tmp_path / "base"), make_shop(tmp_path / "shop")
    config = config_of(base, shop, methods=["extractive"], checks={"control_examples": 3, "control_negatives": 4})
    asked = []
    build = RankingPrompts.build

    def watched(self, summary, history, candidates):
        asked.append((summary, tuple(history), tuple(candidates)))
        return build(self, summary, history, candidates)

    monkeypatch.setattr(RankingPrompts, "build", watched)
    out = run_experiment(config, tmp_path / "run")
    manifest = read(out, "manifest.json")
    assert {"controls untuned", "controls trsr-extractive"} <= set(manifest["seconds"])
    assert {name: counts["prompts"] for name, counts in manifest["scoring"].items()} == {
        "untuned": 7,
        "trsr-extractive": 7,
    }
    assert manifest["speed"]["trsr-extractive"]["candidates"] == 70
    summaries = pl.read_parquet(out / "summaries.parquet")
    own = dict(summaries.select("example_id", "summary").iter_rows())
    for model in ("untuned", "trsr-extractive"):
        assert {path.name for path in (out / "controls" / model).iterdir()} == {
            "history.parquet",
            "texts.parquet",
            "places.parquet",
        }
        assert set(read(out, "controls.json")[model]) == {"history", "texts", "places"}
    control = pl.read_parquet(out / "controls" / "untuned" / "history.parquet")
    assert control.group_by("example_id").len()["len"].to_list() == [5, 5, 5]
    for example, items in control.group_by("example_id", maintain_order=True).agg("item_id").iter_rows():
        shown = [(summary, history) for summary, history, candidates in asked if candidates == tuple(items)]
        assert sum(summary != own[example] for summary, _ in shown) == 2, "of the untuned model and of the tuned one"
    checks = {line["check"] for line in read(out, "checks.json")}
    assert {f"{check} (trsr-extractive)" for check in (HISTORY, TEXTS, PLACES)} <= checks


def test_a_run_of_an_earlier_version_is_told_to_have_no_controls(tmp_path):
    base, shop = make_base(tmp_path / "base"), make_shop(tmp_path / "shop")
    config = config_of(base, shop, methods=["none"], checks={"control_examples": 2})
    out = run_experiment(config, tmp_path / "run")
    for path in (out / "controls" / "trsr-none").iterdir():
        path.unlink()
    (out / "controls" / "trsr-none").rmdir()
    run_experiment(config, out)
    line = next(line for line in read(out, "checks.json") if line["check"] == f"{HISTORY} (trsr-none)")
    assert line["result"] == "look"
    assert line["detail"].endswith("delete scores/trsr-none.parquet and run again")
