"""The model folder: Hugging Face adapter layout plus `trsr.json`, the template set and a model card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trsr import __version__
from trsr.config import PromptConfig, parse_settings
from trsr.errors import ConfigError, ModelError
from trsr.files import whole_folder
from trsr.llm.chat import ChatFormat
from trsr.llm.weights import EMBEDDED, EMBEDDED_HUB_ID, Weights, load_model, load_tokenizer, resolve_weights
from trsr.prompts.templates import TemplateSet

if TYPE_CHECKING:
    from trsr.ranking.ranker import Ranker

_FORMAT = 1


def save(ranker: "Ranker", path: Path, card: Mapping[str, Any]) -> Path:
    """Write `ranker` to `path`, replacing a ranker's folder that is there."""
    if path.exists() and not (path / "trsr.json").is_file():
        raise ConfigError(f"{path}: exists and is no ranker's folder; choose another place")
    if not hasattr(ranker.model, "peft_config"):
        raise ConfigError(f"{path}: this ranker is not tuned, there is no adapter to save; train it first")
    ranker.model.peft_config["default"].base_model_name_or_path = _hub_name(ranker.weights)
    with whole_folder(path) as work:
        # the vocabulary never changes; left to itself, PEFT asks the hub whether it did
        ranker.model.save_pretrained(work, save_embedding_layers=False)
        ranker.chat.tokenizer.save_pretrained(work)
        ranker.templates.save(work / "templates")
        (work / "trsr.json").write_text(json.dumps(_settings(ranker), indent=2, ensure_ascii=False), encoding="utf-8")
        (work / "README.md").write_text(_card(ranker, card), encoding="utf-8")
    return path


def load(kind: type["Ranker"], path: Path, base: str | None, dtype: str | None) -> "Ranker":
    """Read a model folder into a ranker; see `Ranker.from_pretrained`."""
    settings = _read(path)
    tuned_on = settings["base"]
    weights = resolve_weights(base or tuned_on["name"])
    if weights.hash != tuned_on["weight_hash"]:
        raise ModelError(
            f"{path}: tuned on {tuned_on['name']} (weights {tuned_on['weight_hash'][:12]}…), but {weights.name} from "
            f"{weights.source} has weights {weights.hash[:12]}…; give the base it was tuned on"
        )
    prompt = parse_settings(PromptConfig, settings["prompt"], f"{path}/trsr.json")
    tokenizer = load_tokenizer(Weights(str(path), path, "model folder", None))
    model = _with_adapter(load_model(weights, dtype or settings["dtype"]), path)
    ranker = kind(
        model=model,
        chat=ChatFormat(tokenizer),
        templates=TemplateSet(str(path / "templates")),
        attributes=tuple(settings["attributes"]),
        summary_method=settings["summary_method"],
        min_rating=settings["events"]["min_rating"],
        seed=settings["events"]["seed"],
        prompt=prompt,
        weights=Weights(tuned_on["name"], weights.path, weights.source, weights.revision),
    )
    found = _answers(ranker)
    if found != settings["answers"]:
        raise ModelError(f"{path}: the tokenizer there gives answers {found}, trsr.json says {settings['answers']}")
    return ranker


def _with_adapter(model: Any, path: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(path)).eval()
    except Exception as error:  # noqa: BLE001 - peft, safetensors and torch each raise their own type for bad files
        raise ModelError(f"{path}: the adapter cannot be loaded: {str(error).splitlines()[0]}") from None


def _read(path: Path) -> dict[str, Any]:
    file = path / "trsr.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: no trsr.json there; give the folder that `trsr train` or `trsr run` wrote") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: not readable: {error}") from None
    needed = {"format", "base", "prompt", "attributes", "answers", "dtype", "events", "summary_method"}
    if not isinstance(settings, dict) or needed - settings.keys():
        raise ModelError(f"{file}: not a ranker's settings; it needs the keys {', '.join(sorted(needed))}")
    if settings["format"] != _FORMAT:
        raise ModelError(f"{file}: format {settings['format']}, this trsr {__version__} reads format {_FORMAT}")
    if not isinstance(settings["base"], dict) or {"name", "weight_hash"} - settings["base"].keys():
        raise ModelError(f"{file}: not a ranker's settings; its base needs a name and a weight_hash")
    return settings


def _settings(ranker: "Ranker") -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "trsr": __version__,
        "base": {
            "name": ranker.weights.name,
            "source": ranker.weights.source,
            "revision": ranker.weights.revision,
            "weight_hash": ranker.weights.hash,
        },
        "dtype": ranker.dtype,
        "template": ranker.templates.name,
        "summary_method": ranker.summary_method,
        "answers": _answers(ranker),
        "attributes": list(ranker.attributes),
        "events": {"min_rating": ranker.min_rating, "seed": ranker.seed},
        "prompt": ranker.prompt.model_dump(mode="json"),
    }


def _answers(ranker: "Ranker") -> dict[str, Any]:
    answers = ranker.answers
    return {
        "yes": {"id": answers.yes_id, "piece": answers.yes_piece},
        "no": {"id": answers.no_id, "piece": answers.no_piece},
    }


def _hub_name(weights: Weights) -> str:
    return EMBEDDED_HUB_ID if weights.name == EMBEDDED else weights.name


def _card(ranker: "Ranker", card: Mapping[str, Any]) -> str:
    head = (
        f"---\nbase_model: {_hub_name(ranker.weights)}\nlibrary_name: peft\ntags: [trsr, recommendation, lora]\n---\n"
    )
    body = f"""
# Ranker tuned on {ranker.weights.name}

Answers yes or no to one candidate, given the latest items of a user and a preference summary
(method: {ranker.summary_method}). Made by trsr {__version__}; template set `{ranker.templates.name}`, attributes
{", ".join(ranker.attributes)}.

```python
from trsr.ranking.ranker import Ranker

ranker = Ranker.from_pretrained("this folder")
ranked = ranker.rank(history=[...], candidates=[...], summary="...")
```
"""
    sections = "".join(
        f"\n## {title}\n\n```json\n{json.dumps(content, indent=2, ensure_ascii=False, default=str)}\n```\n"
        for title, content in card.items()
    )
    return head + body + sections
