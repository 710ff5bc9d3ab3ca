"""What a result was made on: versions of the libraries that decide it, the processor and the accelerator."""

import platform
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trsr.config import ExperimentConfig
from trsr.llm.encoders import resolve_encoder
from trsr.llm.weights import resolve_weights

_OPTIONAL = ("bm25s", "implicit", "sentence-transformers")
_LIBRARIES = ("trsr", "torch", "transformers", "peft", "tokenizers", "polars", "numpy")


def describe_machine() -> dict[str, Any]:
    """Versions and device by name."""
    import torch

    from trsr.llm.weights import pick_device

    device = pick_device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else _processor()
    return {
        "python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
        **{library: version(library) for library in _OPTIONAL if find_spec(library.replace("-", "_"))},
        "system": f"{platform.system()} {platform.machine()}",
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
    }


def source_commit() -> str | None:
    """The git commit of the sources that this package runs from; None where it was installed from elsewhere."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def fingerprint_models(config: ExperimentConfig) -> dict[str, str]:
    """Of every model that an experiment uses; raises `ModelError` for one that cannot be had."""
    found = {}
    if config.methods:
        found["weights"] = resolve_weights(config.ranker.base).fingerprint
        found["summariser"] = resolve_weights(config.summaries.model).fingerprint
    if "embedding" in config.baselines:
        found["embedding"] = resolve_encoder(config.encoder_model).fingerprint
    return found


def _processor() -> str:
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        if found:
            return found
    return platform.processor() or platform.machine()


def describe_model(name: str, template: str) -> dict[str, Any]:
    """Where a model's weights are, the layout of its prompts, and the two answer tokens in context."""
    from trsr.llm.chat import ChatFormat
    from trsr.llm.weights import load_tokenizer
    from trsr.prompts.templates import TemplateSet

    weights = resolve_weights(name)
    chat, words = ChatFormat(load_tokenizer(weights)), TemplateSet(template)
    answers = chat.answers(words.yes, words.no)
    return {
        "model": weights.name,
        "weights": f"{weights.path} ({weights.source})",
        "weight_hash": weights.hash,
        "chat_template": "the model's own" if chat.has_template else "none, plain layout",
        "answer_cue": repr(chat.after),
        "answer_yes": f"{words.yes!r} is token {answers.yes_id}, {answers.yes_piece!r}",
        "answer_no": f"{words.no!r} is token {answers.no_id}, {answers.no_piece!r}",
    }
