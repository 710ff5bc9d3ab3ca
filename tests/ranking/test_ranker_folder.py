"""The model folder: what was saved is what is loaded, and anything else is one sentence."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
import yaml
from tiny_rankers import BOOKS, adapter_of, make_base, make_ranker

from trsr.config import TrainingConfig
from trsr.data.scoring import RankingRequest
from trsr.errors import ConfigError, ModelError
from trsr.llm import weights as weights_room
from trsr.ranking.adapters import add_lora
from trsr.ranking.ranker import Ranker, RankerScorer

HISTORY = [{"title": "Whales", "subject": "sea"}, {"title": "Ropes", "subject": None}]
SUMMARY = "Likes the sea"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "model")


def make_tuned(base, seed=0, **prompt):
    ranker = make_ranker(base, **prompt)
    model = add_lora(ranker.model, TrainingConfig())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.2, generator=generator)
    return ranker.with_model(model.eval())


@pytest.fixture(scope="module")
def tuned(base):
    return make_tuned(base, template="books", summary_tokens=32)


@pytest.fixture(scope="module")
def saved_once(tuned, tmp_path_factory):
    return tuned.save_pretrained(tmp_path_factory.mktemp("saved") / "ranker", {"Results": {"recall@3": 0.5}})


@pytest.fixture
def saved(saved_once, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved_once, tmp_path / "ranker")


def ranked_by(ranker):
    return [(entry.index, entry.log_odds) for entry in ranker.rank(HISTORY, BOOKS, SUMMARY)]


def change_settings(folder, **changes):
    file = folder / "trsr.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**settings, **changes}), encoding="utf-8")


def refusal(folder, **more):
    with pytest.raises(ModelError) as error:
        Ranker.from_pretrained(folder, dtype="float32", **more)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_loaded_ranker_scores_as_the_saved_one_did(tuned, saved):
    loaded = Ranker.from_pretrained(saved, dtype="float32")
    assert ranked_by(loaded) == ranked_by(tuned)
    assert adapter_of(loaded) == adapter_of(tuned)
    assert (loaded.prompt, loaded.attributes, loaded.answers) == (tuned.prompt, tuned.attributes, tuned.answers)
    assert loaded.weights.fingerprint == tuned.weights.fingerprint


def test_a_folder_saved_again_after_loading_is_the_same_ranker(tuned, saved, tmp_path):
    again = Ranker.from_pretrained(saved, dtype="float32").save_pretrained(tmp_path / "again")
    assert ranked_by(Ranker.from_pretrained(again, dtype="float32")) == ranked_by(tuned)
    in_place = Ranker.from_pretrained(again, dtype="float32").save_pretrained(again)
    assert ranked_by(Ranker.from_pretrained(in_place, dtype="float32")) == ranked_by(tuned)


def test_the_folder_holds_what_other_programs_look_for_and_no_pickle(saved):
    names = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    assert {
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
        "trsr.json",
        "README.md",
        "templates/words.yaml",
        "templates/rank_question.j2",
    } <= names
    assert not [name for name in names if re.search(r"\.(bin|pt|pth|pkl|pickle|ckpt)$", name)]
    assert not [name for name in names if name.startswith("model")]  # the adapter only, not the base


def test_the_settings_in_the_folder_are_those_of_the_ranker(saved, base, tuned):
    settings = json.loads((saved / "trsr.json").read_text(encoding="utf-8"))
    assert settings["base"]["name"] == str(base)
    assert settings["base"]["weight_hash"] == tuned.weights.hash
    assert settings["answers"] == {"yes": {"id": 257, "piece": "yes"}, "no": {"id": 258, "piece": "no"}}
    assert settings["attributes"] == ["title", "subject"]
    assert (settings["prompt"]["template"], settings["prompt"]["summary_tokens"]) == ("books", 32)


def test_the_card_says_what_it_is_and_how_to_use_it(saved, base):
    card = (saved / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert head["base_model"] == str(base)
    assert head["library_name"] == "peft"
    assert "Ranker.from_pretrained" in card
    assert '## Results\n\n```json\n{\n  "recall@3": 0.5\n}\n```' in card


def test_saving_asks_no_hub(tuned, tmp_path, monkeypatch):
    # PEFT looks on the hub whether the vocabulary changed, unless told: minutes of waiting where there is no network
    def refuse(*args, **kwargs):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", refuse)
    named = make_tuned(tuned.weights.path)
    object.__setattr__(named, "weights", weights_room.Weights("someone/model", tuned.weights.path, "hub", "1"))
    folder = named.save_pretrained(tmp_path / "ranker")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "someone/model"


def test_templates_travel_with_the_folder(saved):
    file = saved / "templates" / "rank_question.j2"
    file.write_text("Well, this {{ item }}?", encoding="utf-8")
    loaded = Ranker.from_pretrained(saved, dtype="float32")
    prompts = loaded.prompts({"b": {"title": "Sea", "subject": None}})
    assert "Well, this book?" in loaded.chat.tokenizer.decode(list(prompts.build("", [], ["b"]).suffixes[0]))


def test_a_base_with_other_weights_is_refused_by_name(saved, tmp_path, base):
    other = make_base(tmp_path / "other", seed=1)
    message = refusal(saved, base=str(other))
    assert message.startswith(f"{saved}: tuned on {base} (weights ")
    assert f"but {other} from local folder has weights " in message


def test_the_same_weights_in_another_place_are_taken(saved, tmp_path, base, tuned):
    moved = shutil.copytree(base, tmp_path / "moved")
    assert ranked_by(Ranker.from_pretrained(saved, base=str(moved), dtype="float32")) == ranked_by(tuned)


def test_a_base_that_is_gone_is_one_sentence(saved):
    settings = json.loads((saved / "trsr.json").read_text(encoding="utf-8"))
    change_settings(saved, base={**settings["base"], "name": "/gone/model"})
    assert refusal(saved).startswith("/gone/model: no such folder")


def test_a_folder_without_trsr_json_is_refused_with_where_to_get_one(saved):
    (saved / "trsr.json").unlink()
    assert refusal(saved) == f"{saved}: no trsr.json there; give the folder that `trsr train` or `trsr run` wrote"
    assert refusal(saved / "nothing").startswith(f"{saved / 'nothing'}: no trsr.json there")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff\xfe", b'{"format": 1}'])
def test_settings_that_are_not_a_rankers_are_refused(saved, content):
    (saved / "trsr.json").write_bytes(content)
    assert refusal(saved).startswith(f"{saved / 'trsr.json'}: not ")


@pytest.mark.parametrize("recorded", [{}, None, "model", {"name": "x"}])
def test_settings_without_a_whole_base_are_refused(saved, recorded):
    change_settings(saved, base=recorded)
    assert "its base needs a name and a weight_hash" in refusal(saved)


def test_another_format_is_refused_with_both_numbers(saved):
    change_settings(saved, format=2)
    assert re.search(r"trsr.json: format 2, this trsr \S+ reads format 1$", refusal(saved))


def test_prompt_settings_that_are_wrong_name_the_field(saved):
    change_settings(saved, prompt={"recent_items": -1})
    with pytest.raises(ConfigError, match=r"trsr.json: prompt.recent_items: "):
        Ranker.from_pretrained(saved, dtype="float32")


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("dtype", "float99", "dtype"),
        ("dtype", None, "dtype"),
        ("events", {}, "events.min_rating"),
        ("events", {"min_rating": "high", "seed": 7}, "events.min_rating"),
        ("events", {"min_rating": None, "seed": -1}, "events.seed"),
        ("attributes", None, "attributes"),
        ("attributes", "title", "attributes"),
        ("attributes", [], "attributes"),
        ("quantization", "8bit", "quantization"),
        ("tune", "half", "tune"),
        ("summary_method", 7, "summary_method"),
        ("answers", {"yes": {"id": 257}}, "answers.yes.piece"),
        ("prompt", None, "prompt"),
        ("base", {"name": 7, "weight_hash": "x"}, "base.name"),
    ],
)
def test_a_setting_that_is_wrong_names_the_file_and_the_field(saved, field, value, named):
    change_settings(saved, **{field: value})
    with pytest.raises(ConfigError) as error:
        Ranker.from_pretrained(saved)
    assert str(error.value).startswith(f"{saved / 'trsr.json'}: {named}: ")
    assert "\n" not in str(error.value)


def test_a_dtype_that_there_is_not_is_refused_with_those_there_are(saved):
    with pytest.raises(ConfigError) as error:
        Ranker.from_pretrained(saved, dtype="float99")
    assert str(error.value) == (f"{saved}: no dtype 'float99' to load it in; take auto, float32, bfloat16, float16")


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "missing"])
def test_a_damaged_adapter_is_one_sentence(saved, file, damage):
    content = (saved / file).read_bytes()
    if damage == "missing":
        (saved / file).unlink()
    else:
        (saved / file).write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    assert refusal(saved).startswith(f"{saved}: the adapter cannot be loaded: ")


def test_a_tokenizer_that_answers_otherwise_is_refused(saved):
    settings = json.loads((saved / "trsr.json").read_text(encoding="utf-8"))
    answers = settings["answers"]
    change_settings(saved, answers={"yes": answers["no"], "no": answers["yes"]})
    assert "the tokenizer there gives answers" in refusal(saved)


def test_saving_replaces_a_rankers_folder(saved, base):
    (saved / "old.txt").write_text("old", encoding="utf-8")
    other = make_tuned(base, seed=5)
    other.save_pretrained(saved)
    assert not (saved / "old.txt").exists()
    assert ranked_by(Ranker.from_pretrained(saved, dtype="float32")) == ranked_by(other)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_saving_replaces_nothing_else(tuned, tmp_path, kind):
    place = tmp_path / "thesis"
    if kind == "folder":
        place.mkdir()
        (place / "thesis.txt").write_text("years of work", encoding="utf-8")
    else:
        place.write_text("years of work", encoding="utf-8")
    with pytest.raises(ConfigError, match="exists and is no ranker's folder; choose another place"):
        tuned.save_pretrained(place)
    assert (place / "thesis.txt" if kind == "folder" else place).read_text(encoding="utf-8") == "years of work"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), RuntimeError("a bug")])
def test_a_failed_save_leaves_the_old_ranker_and_no_rest(tuned, saved, base, monkeypatch, failure):
    other = make_tuned(base, seed=5)

    def fail(folder, **more):
        (folder / "adapter_model.safetensors").write_bytes(b"half")
        raise failure

    monkeypatch.setattr(other.model, "save_pretrained", fail)
    with pytest.raises((ConfigError, RuntimeError)) as error:
        other.save_pretrained(saved)
    assert isinstance(error.value, ConfigError if isinstance(failure, OSError) else RuntimeError)
    assert ranked_by(Ranker.from_pretrained(saved, dtype="float32")) == ranked_by(tuned)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.fixture
def tuned_whole(base):
    """A ranker of whose weights every one was tuned."""
    ranker = make_ranker(base)
    with torch.no_grad():
        for parameter in ranker.model.parameters():
            parameter.mul_(1.05)
    return replace(ranker, whole=True)


def test_whole_weights_are_saved_and_scored_without_their_base(tuned_whole, base, tmp_path):
    folder = tuned_whole.save_pretrained(tmp_path / "ranker")
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "trsr.json", "tokenizer.json"} <= names
    assert "adapter_config.json" not in names
    settings = json.loads((folder / "trsr.json").read_text(encoding="utf-8"))
    assert (settings["tune"], settings["quantization"], settings["base"]["name"]) == ("full", "none", str(base))
    change_settings(folder, base={**settings["base"], "name": "/gone/model"})
    loaded = Ranker.from_pretrained(folder, dtype="float32")
    assert ranked_by(loaded) == ranked_by(tuned_whole)
    again = loaded.save_pretrained(tmp_path / "again")
    assert ranked_by(Ranker.from_pretrained(again, dtype="float32")) == ranked_by(tuned_whole)
    card = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert (card["library_name"], card["tags"][-1]) == ("transformers", "full")


def test_whole_weights_that_were_changed_or_lost_are_refused(tuned_whole, base, tmp_path):
    folder = tuned_whole.save_pretrained(tmp_path / "ranker")
    assert refusal(folder, base=str(base)) == f"{folder}: every weight was tuned and is there; leave the base out"
    shutil.copy(base / "model.safetensors", folder / "model.safetensors")
    assert refusal(folder) == (
        f"{folder}: its weights are not those that trsr.json was written with; save the ranker again"
    )
    (folder / "model.safetensors").unlink()
    assert refusal(folder).startswith(f"{folder}: no .safetensors weights there")


def test_an_untuned_ranker_is_not_saved(base, tmp_path):
    with pytest.raises(ConfigError, match="this ranker is not tuned, there is nothing to save; train it first"):
        make_ranker(base).save_pretrained(tmp_path / "ranker")


def test_rank_takes_plain_dicts_and_gives_sorted_probabilities(tuned):
    ranked = tuned.rank(HISTORY, BOOKS, SUMMARY)
    assert sorted(entry.index for entry in ranked) == [0, 1, 2]
    assert [entry.log_odds for entry in ranked] == sorted((entry.log_odds for entry in ranked), reverse=True)
    for entry in ranked:
        assert entry.probability == pytest.approx(torch.tensor(entry.log_odds).sigmoid().item())
        assert 0 < entry.probability < 1


def test_rank_depends_on_what_it_is_given(tuned):
    whole = dict(ranked_by(tuned))
    for other in (
        tuned.rank([], BOOKS, SUMMARY),
        tuned.rank(HISTORY, BOOKS, ""),
        tuned.rank(HISTORY[::-1], BOOKS, SUMMARY),
    ):
        assert {entry.index: entry.log_odds for entry in other} != whole
    alone = tuned.rank(HISTORY, BOOKS[1:2], SUMMARY)
    assert alone[0].log_odds == pytest.approx(whole[1], abs=1e-4)


def test_rank_and_the_scorer_of_experiments_agree(tuned):
    items = {name: {"title": None, "subject": None, **row} for name, row in zip("abcde", HISTORY + BOOKS, strict=True)}
    scorer = RankerScorer(tuned, tuned.prompts(items), {"e1": SUMMARY})
    requests = [
        RankingRequest("e1", "u", ("a", "b"), ("c", "d", "e")),
        RankingRequest("e2", "u", ("a", "b"), ("e", "d", "c")),
    ]
    first, second = scorer.score(requests)
    assert first.tolist() == [odds for _, odds in sorted(ranked_by(tuned))]
    without = {entry.index: entry.log_odds for entry in tuned.rank(HISTORY, BOOKS[::-1])}
    assert second.tolist() == [without[index] for index in range(3)]


def test_scores_that_are_no_numbers_name_the_example(base):
    ranker = make_tuned(base)
    with torch.no_grad():
        next(iter(ranker.model.parameters())).fill_(float("nan"))
    scorer = RankerScorer(ranker, ranker.prompts({"a": {"title": "Sea", "subject": None}}), {})
    with pytest.raises(ModelError, match=r"^example e7: the model gave 1 scores that are not finite"):
        list(scorer.score([RankingRequest("e7", "u", (), ("a",))]))


def test_rank_without_candidates_or_known_attributes_is_refused(tuned):
    with pytest.raises(ConfigError, match="rank: no candidates given"):
        tuned.rank(HISTORY, [])
    with pytest.raises(ConfigError, match="rank: an item has none of the attributes title, subject"):
        tuned.rank([{"name": "Sea"}], BOOKS)


def test_a_prompt_beyond_the_models_context_is_refused_before_any_work(base):
    with pytest.raises(ConfigError, match=r"prompt.max_tokens 9000.* 8192 tokens"):
        make_ranker(base, max_tokens=9000)
