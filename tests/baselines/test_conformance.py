"""What every baseline owes whoever compares a ranker with it, whatever it is made of."""

import dataclasses
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from baselines.small_world import COLD, make_encoder, world_config, write_world
from trsr.baselines import registry, sequences
from trsr.baselines.registry import FAMILIES, check_installed, choose
from trsr.baselines.value import mean_recall
from trsr.config import BaselineName, EmbeddingConfig
from trsr.data.scoring import RankingRequest
from trsr.experiment.baselines import fit_data
from trsr.experiment.tasks import make_tasks

ROOT = Path(__file__).parents[2]
READS_TEXTS = {"bm25", "embedding"}
NETWORKS = {"sasrec", "gru4rec"}
LEARNS_TASTES = [name for name in FAMILIES if "popularity" not in name]
HISTORY = ("i00", "i04", "i08", "i12", "i16")
CANDIDATES = ("i20", "i21", "i22", "i23", "i24", "i03")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    config = world_config(write_world(folder / "world"))
    made = fit_data(make_tasks(config), config)
    encoder = make_encoder(folder / "encoder")
    return dataclasses.replace(made, embedding=EmbeddingConfig(model=str(encoder), dtype="float32"))


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def name(request):
    return request.param


@pytest.fixture(scope="session")
def fitted(name, data):
    return fit(name, data)


def fit(name, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "ROUNDS", 2)  # not trained well, but quickly
        return FAMILIES[name].fit(data, FAMILIES[name].grid[-1], 3)


def ask(*candidates, history=HISTORY, user="stranger"):
    return RankingRequest(f"{user}@{len(history)}", user, tuple(history), tuple(candidates))


def score(scorer, *requests):
    return list(scorer.score(requests))


def test_every_name_of_the_settings_has_a_baseline():
    assert set(FAMILIES) == set(get_args(BaselineName))


def test_every_baseline_with_settings_is_tuned_and_none_much_harder_than_another():
    sizes = {name: len(family.grid) for name, family in FAMILIES.items()}
    assert sizes.pop("popularity") == 1  # it has no settings
    assert (min(sizes.values()), max(sizes.values())) == (6, 12)
    assert all(len(set(family.grid)) == len(family.grid) for family in FAMILIES.values())


def test_the_docs_state_every_grid():
    page = (ROOT / "docs/explanation/baselines.md").read_text(encoding="utf-8")
    for name, family in FAMILIES.items():
        [(count, stated)] = re.findall(rf"^\| `{name}` \| (\d+) \| (.*) \|$", page, re.MULTILINE)
        assert int(count) == len(family.grid)
        numbers = {float(number) for number in re.findall(r"\d*\.?\d+", stated)}
        tried = {value for settings in family.grid for value in dataclasses.asdict(settings).values()}
        assert {float(value) for value in tried if not isinstance(value, bool)} <= numbers, name


def test_scores_are_one_finite_fp32_number_a_candidate_in_the_order_of_requests(fitted):
    requests = [ask(*CANDIDATES[:count], history=HISTORY[:count]) for count in (6, 1, 3)]
    together = score(fitted, *requests)
    assert [values.shape for values in together] == [(6,), (1,), (3,)]
    assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in together)
    for request, values in zip(requests, together, strict=True):
        np.testing.assert_allclose(score(fitted, request)[0], values, rtol=1e-4, atol=1e-5)


def test_a_score_is_that_of_the_item_wherever_it_stands(fitted):
    here, there = score(fitted, ask(*CANDIDATES), ask(*CANDIDATES[::-1]))
    np.testing.assert_allclose(here, there[::-1], rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_scores(name, fitted, data):
    again = fit(name, data)
    for here, there in zip(
        score(fitted, *data.validation.requests), score(again, *data.validation.requests), strict=True
    ):
        np.testing.assert_array_equal(here, there)


def test_items_that_nobody_had_are_no_part_of_a_history(fitted):
    plain, strange = score(fitted, ask(*CANDIDATES), ask(*CANDIDATES, history=(*HISTORY[:2], "nowhere", *HISTORY[2:])))
    assert np.isfinite(strange).all()
    assert np.argsort(plain)[-1] == np.argsort(strange)[-1]


@pytest.mark.parametrize("user", ["stranger", "u00"])
def test_a_person_without_a_history_gets_finite_scores(fitted, user):
    for history in ((), ("nowhere",)):
        assert np.isfinite(score(fitted, ask(*CANDIDATES, "nowhere", history=history, user=user))[0]).all()


def test_unseen_candidates_tie_below_all_others(name, fitted):
    unseen = ("nowhere", "neverland") if name in READS_TEXTS else ("nowhere", *COLD)
    values = score(fitted, ask(*CANDIDATES, *unseen))[0]
    assert len(set(values[len(CANDIDATES) :])) == 1
    assert values[-1] < values[: len(CANDIDATES)].min()
    alone = score(fitted, ask(*unseen))[0]
    assert len(set(alone)) == 1


@pytest.mark.parametrize("learner", LEARNS_TASTES)
def test_it_finds_the_taste_that_people_have(learner, data, monkeypatch):
    """Chance is 3, 5 and 10 of 10 and so .6 on average; a taste alone leaves about three of the ten."""
    some = dataclasses.replace(FAMILIES[learner], grid=FAMILIES[learner].grid[: 1 if learner in NETWORKS else 2])
    monkeypatch.setattr(registry, "FAMILIES", {learner: some})
    choice = choose(learner, data, 3)
    assert choice.tried[choice.chosen]["valid_recall"] > 0.85
    assert mean_recall(choice.scorer, data.validation) == choice.tried[choice.chosen]["valid_recall"]
    assert max(entry["valid_recall"] for entry in choice.tried) == choice.tried[choice.chosen]["valid_recall"]


def test_every_baseline_is_installed_for_these_tests():
    check_installed(list(FAMILIES))
