"""A template set for the summariser alone: its texts are of that set, and the ranker's prompts are not."""

import json

import polars as pl
import pytest

from experiment.tiny_shop import config_of, make_base, make_shop
from trsr.errors import DataError
from trsr.experiment.run import run_experiment
from trsr.prompts.templates import TemplateSet


@pytest.fixture
def asked(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "words.yaml").write_text("user: regular\n", encoding="utf-8")
    (own / "summary_start.j2").write_text("Above all", encoding="utf-8")
    changes = {"methods": ["extractive"], "untuned": False, "summaries": {"template": str(own)}}
    return config_of(make_base(tmp_path / "base"), make_shop(tmp_path / "shop"), **changes), own


def test_the_summariser_has_templates_of_its_own_and_the_run_holds_them_to_what_they_were(asked, tmp_path):
    config, own = asked
    run = run_experiment(config, tmp_path / "run")
    summaries = pl.read_parquet(run / "summaries.parquet")["summary"]
    assert summaries.len()
    assert summaries.str.starts_with("Above all ").all()
    fingerprints = json.loads((run / "manifest.json").read_text("utf-8"))["fingerprints"]
    assert fingerprints["summary templates"] == TemplateSet(str(own)).fingerprint
    assert fingerprints["templates"] == TemplateSet("books").fingerprint
    tuned = TemplateSet(str(run / "adapter" / "trsr-extractive" / "templates"))
    assert tuned.fingerprint == fingerprints["templates"]

    (own / "summary_start.j2").write_text("First of all", encoding="utf-8")
    with pytest.raises(DataError, match="made from other summary templates than there are now"):
        run_experiment(config, tmp_path / "run")
