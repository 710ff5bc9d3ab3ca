"""The model folder: adapter or whole weights in Hugging Face layout, `trsr.json`, the template set, a model card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field

from trsr import __version__
from trsr.config import PromptConfig, Seed, Settings, SummaryMethod, parse_settings
from trsr.data.popularity import POPULARITY, read_levels, write_levels
from trsr.errors import ConfigError, ModelError
from trsr.files import whole_folder
from trsr.llm.chat import ChatFormat
from trsr.llm.weights import EMBEDDED, EMBEDDED_HUB_ID, Weights, load_model, load_tokenizer, resolve_weights
from trsr.prompts.templates import TemplateSet
from trsr.ranking.adapters import is_4bit

if TYPE_CHECKING:
    from trsr.ranking.ranker import Ranker

_FORMAT = 1
_HERE = "model folder"
_Dtype = Literal["float32", "bfloat16", "float16"]


class _Part(Settings):
    model_config = ConfigDict(extra="ignore", frozen=True)  # what a later trsr adds to this format is no error


class _Base(_Part):
    name: str
    weight_hash: str
    revision: str | None = None


class _Answer(_Part):
    id: int
    piece: str


class _Answers(_Part):
    yes: _Answer
    no: _Answer


class _Events(_Part):
    min_rating: float | None
    seed: Seed


class _Recorded(_Part):
    """What loading takes from `trsr.json`; `prompt` refuses unknown keys."""

    base: _Base
    tune: Literal["lora", "full"] = "lora"
    dtype: _Dtype
    quantization: Literal["none", "4bit"] = "none"
    summary_method: SummaryMethod
    answers: _Answers
    attributes: Annotated[list[str], Field(min_length=1)]
    events: _Events
    prompt: PromptConfig
    weight_hash: str | None = None


def save(ranker: "Ranker", path: Path, card: Mapping[str, Any]) -> Path:
    """Write `ranker` to `path`, replacing a ranker's folder that is there."""
    if path.exists() and not (path / "trsr.json").is_file():
        raise ConfigError(f"{path}: exists and is no ranker's folder; choose another place")
    adapted = hasattr(ranker.model, "peft_config")
    if not adapted and not ranker.whole:
        raise ConfigError(f"{path}: this ranker is not tuned, there is nothing to save; train it first")
    settings = _settings(ranker)
    with whole_folder(path) as work:
        if adapted:
            ranker.model.peft_config["default"].base_model_name_or_path = hub_name(ranker.weights)
            # the vocabulary never changes; left to itself, PEFT asks the hub whether it did
            ranker.model.save_pretrained(work, save_embedding_layers=False)
        else:
            ranker.model.save_pretrained(work)
            settings["weight_hash"] = Weights(str(work), work, _HERE, None).hash
        ranker.chat.tokenizer.save_pretrained(work)
        ranker.templates.save(work / "templates")
        (work / "trsr.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")
        if ranker.popularity is not None:
            write_levels(work / POPULARITY, ranker.popularity)
        (work / "README.md").write_text(_card(ranker, card), encoding="utf-8")
    return path


def load(kind: type["Ranker"], path: Path, base: str | None, dtype: str | None) -> "Ranker":
    """Read a model folder into a ranker; see `Ranker.from_pretrained`."""
    dtypes = ("auto", *get_args(_Dtype))
    if dtype is not None and dtype not in dtypes:
        raise ConfigError(f"{path}: no dtype {dtype!r} to load it in; take {', '.join(dtypes)}")
    settings = _read(path)
    whole = settings.tune == "full"
    weights = _whole_weights(settings, path, base) if whole else _base_weights(settings, path, base)
    model = load_model(weights, dtype or settings.dtype, settings.quantization)
    return _ranker(kind, path, settings, weights, model if whole else _with_adapter(model, path))


def load_without_weights(kind: type["Ranker"], path: Path) -> "Ranker":
    """All of a model folder but the model, which a server holds: prompts, tokenizer, settings."""
    settings = _read(path)
    base = settings.base
    return _ranker(kind, path, settings, Weights(base.name, path, "a server", base.revision), None)


def _ranker(kind: type["Ranker"], path: Path, settings: _Recorded, weights: Weights, model: Any) -> "Ranker":
    ranker = kind(
        model=model,
        chat=ChatFormat(load_tokenizer(Weights(str(path), path, _HERE, None))),
        templates=TemplateSet(str(path / "templates")),
        attributes=tuple(settings.attributes),
        summary_method=settings.summary_method,
        min_rating=settings.events.min_rating,
        seed=settings.events.seed,
        prompt=settings.prompt,
        weights=weights,
        whole=settings.tune == "full",
        popularity=read_levels(path / POPULARITY) if settings.prompt.popularity_levels else None,
    )
    found, recorded = _answers(ranker), settings.answers.model_dump()
    if found != recorded:
        raise ModelError(f"{path}: the tokenizer there gives answers {found}, trsr.json says {recorded}")
    return ranker


def _base_weights(settings: _Recorded, path: Path, base: str | None) -> Weights:
    tuned_on = settings.base
    weights = resolve_weights(base or tuned_on.name)
    if weights.hash != tuned_on.weight_hash:
        raise ModelError(
            f"{path}: tuned on {tuned_on.name} (weights {tuned_on.weight_hash[:12]}…), but {weights.name} from "
            f"{weights.source} has weights {weights.hash[:12]}…; give the base it was tuned on"
        )
    return Weights(tuned_on.name, weights.path, weights.source, weights.revision)


def _whole_weights(settings: _Recorded, path: Path, base: str | None) -> Weights:
    if base is not None:
        raise ModelError(f"{path}: every weight was tuned and is there; leave the base out")
    weights = Weights(settings.base.name, path, _HERE, None)
    if weights.hash != settings.weight_hash:
        raise ModelError(f"{path}: its weights are not those that trsr.json was written with; save the ranker again")
    return weights


def _with_adapter(model: Any, path: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(path)).eval()
    except Exception as error:  # noqa: BLE001 - peft, safetensors and torch each raise their own type for bad files
        raise ModelError(f"{path}: the adapter cannot be loaded: {str(error).splitlines()[0]}") from None


def _read(path: Path) -> _Recorded:
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
    return parse_settings(_Recorded, settings, str(file))


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
        "tune": "full" if ranker.whole else "lora",
        "dtype": ranker.dtype,
        "quantization": "4bit" if is_4bit(ranker.model) else "none",
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


def hub_name(weights: Weights) -> str:
    """What the hub knows weights as."""
    return EMBEDDED_HUB_ID if weights.name == EMBEDDED else weights.name


def _card(ranker: "Ranker", card: Mapping[str, Any]) -> str:
    library, kind = ("transformers", "full") if ranker.whole else ("peft", "lora")
    head = (
        f"---\nbase_model: {hub_name(ranker.weights)}\nlibrary_name: {library}\n"
        f"tags: [trsr, recommendation, {kind}]\n---\n"
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
