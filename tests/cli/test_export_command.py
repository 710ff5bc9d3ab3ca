"""`trsr export` as a user types it."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from tiny import make_model, make_tokenizer, save_folder
from trsr.config import PromptConfig, RankerConfig
from trsr.ranking.ranker import Ranker


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder whose base weights have moved away."""
    folder = tmp_path_factory.mktemp("export")
    tokenizer = make_tokenizer()
    base = save_folder(folder / "base", make_model("llama", vocabulary=len(tokenizer)), tokenizer)
    ranker = Ranker.from_base(RankerConfig(base=str(base), dtype="bfloat16"), PromptConfig(), ["title"])
    lora = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    ranker.with_model(get_peft_model(ranker.model, lora)).save_pretrained(folder / "model")
    base.rename(folder / "moved")
    return folder / "model"


@pytest.mark.parametrize("layout", ["merged", "crossencoder"])
def test_export_writes_the_folder_in_the_dtype_of_the_tuning(trsr, model, tmp_path, layout):
    place, base = tmp_path / "out", model.parent / "moved"
    outcome = trsr("export", model, place, "--format", layout, "--base", base, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out) == {"folder": str(place), "format": layout, "dtype": "bfloat16"}
    assert {value.dtype for value in load_file(place / "model.safetensors").values()} == {torch.bfloat16}
    assert (place / "modules.json").is_file() == (layout == "crossencoder")


def test_export_says_what_it_wrote_and_takes_another_dtype(trsr, model, tmp_path):
    place = tmp_path / "out"
    outcome = trsr("export", model, place, "--base", model.parent / "moved", "--dtype", "float32")
    assert outcome.out == f"merged in float32 in {place}\n"
    assert {value.dtype for value in load_file(place / "model.safetensors").values()} == {torch.float32}


def test_wrong_settings_and_places_are_one_sentence(trsr, model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    for arguments, said in (
        ((model, tmp_path / "out", "--format", "gguf"), "export: no format 'gguf'; take merged or crossencoder"),
        ((model, tmp_path / "out", "--dtype", "int8"), "export: no dtype 'int8'; take float32, bfloat16, float16"),
        ((model, tmp_path / "mine"), f"{tmp_path / 'mine'}: exists and is not an empty folder; choose another place"),
    ):
        outcome = trsr("export", *arguments)
        assert (outcome.code, outcome.complaint) == (2, said)
    nothing = trsr("export", tmp_path / "nothing", tmp_path / "out")
    assert nothing.code == 4
    assert nothing.complaint.startswith(f"{tmp_path / 'nothing'}: no trsr.json there")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
