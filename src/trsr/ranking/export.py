"""A tuned ranker for other programs: merged weights, or a folder for the `CrossEncoder` of sentence-transformers."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trsr import __version__
from trsr.config import RankerConfig
from trsr.errors import ConfigError, ModelError
from trsr.files import whole_folder
from trsr.ranking.folder import hub_name
from trsr.ranking.pairs import pair_ids, pair_tokenizer, prompt_texts
from trsr.ranking.ranker import Ranker

FORMATS = ("merged", "crossencoder")
DTYPES = ("float32", "bfloat16", "float16")
_CLOSE = 1e-3  # of log-odds in fp32; a wrong merge is off by far more
_PADDING = 7


def export_folder(
    model: Path, path: Path, layout: str, base: str | None = None, dtype: str | None = None
) -> dict[str, str]:
    """Export a model folder to `path`; gives where it lies, its format and its dtype.

    `base` is where the base weights are if not under the recorded name; `dtype` is that of the weights written, the
    recorded one where None. Raises `ConfigError` for a wrong setting or a taken place, `ModelError` as
    `Ranker.from_pretrained` and the exports below do.
    """
    if layout not in FORMATS:
        raise ConfigError(f"export: no format {layout!r}; take {' or '.join(FORMATS)}")
    _check(path, dtype)
    settings = RankerConfig(attention="blocks")  # nothing is measured for what scores elsewhere
    ranker = Ranker.from_pretrained(model, base, "float32", settings)  # merged in fp32 whatever it is written in
    chosen = dtype or str(json.loads((model / "trsr.json").read_text(encoding="utf-8"))["dtype"])
    (export_merged if layout == "merged" else export_cross_encoder)(ranker, path, chosen)
    return {"folder": str(path), "format": layout, "dtype": chosen}


def export_merged(ranker: Ranker, path: str | Path, dtype: str | None = None) -> Path:
    """Write a plain Hugging Face causal-LM folder with the adapter merged in; it appears whole or not at all.

    `dtype` is that of the weights, the ranker's own where None; the ranker stays as it is. Raises `ConfigError` when
    `path` is taken or `dtype` unknown, `ModelError` when the merged weights would score otherwise.
    """
    path, chosen = Path(path), dtype or ranker.dtype
    _check(path, chosen)
    model = _merged(ranker).to(getattr(torch, chosen))
    with whole_folder(path) as work:
        model.save_pretrained(work)
        ranker.chat.tokenizer.save_pretrained(work)
        _write(work / "README.md", _merged_card(ranker, chosen))
    return path


def export_cross_encoder(ranker: Ranker, path: str | Path, dtype: str | None = None) -> Path:
    """Write a folder that `CrossEncoder(path)` loads; its scores are the log-odds of the ranker.

    The pairs to score come from `trsr.ranking.pairs`. Raises as `export_merged`, and `ModelError` where this layout
    would give other ids or scores than the ranker's.
    """
    path, chosen = Path(path), dtype or ranker.dtype
    _check(path, chosen)
    if ranker.prompt.popularity_levels:
        raise ConfigError(
            f"{path}: this ranker tells how popular candidates are, pairs of texts do not; export it merged"
        )
    tokenizer = pair_tokenizer(ranker.chat, ranker.templates, ranker.prompt.max_tokens)
    model = _merged(ranker)
    _check_padding(ranker, model)
    model = model.to(getattr(torch, chosen))
    with whole_folder(path) as work:
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        for name, content in _cross_encoder_files(ranker, model, _tokenizer_settings(ranker, work)).items():
            (work / name).parent.mkdir(exist_ok=True)
            _write(work / name, json.dumps(content, indent=2) + "\n")
        _write(work / "README.md", _cross_encoder_card(ranker, chosen))
    return path


def _check(path: Path, dtype: str | None) -> None:
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"export: no dtype {dtype!r}; take {', '.join(DTYPES)}")
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise ConfigError(f"{path}: exists and is not an empty folder; choose another place")


def _merged(ranker: Ranker) -> Any:
    """A copy of the model in fp32 on the CPU, its adapter (if there is one) merged in."""
    if getattr(ranker.model, "is_quantized", False):
        raise ModelError(
            f"export: the base weights of {ranker.weights.name} are quantised here, and an adapter merges into whole "
            "ones only; tune without quantization"
        )
    model = copy.deepcopy(ranker.model).to("cpu", torch.float32).eval()
    if not hasattr(model, "peft_config"):
        return model
    tuned = _log_odds(ranker, model)
    model = model.merge_and_unload(safe_merge=True).eval()
    if not torch.isclose(_log_odds(ranker, model), tuned, rtol=_CLOSE, atol=_CLOSE):
        raise ModelError(
            "export: merging the adapter changes the scores, as where it sits on a head that shares its weights with "
            "the embedding; tune with other training.lora_modules"
        )
    return model


def _check_padding(ranker: Ranker, model: Any) -> None:
    if not torch.isclose(_log_odds(ranker, model, _PADDING), _log_odds(ranker, model), rtol=_CLOSE, atol=_CLOSE):
        raise ModelError(
            f"crossencoder: {type(model).__name__} scores a prompt otherwise when it is padded on the left, as batches "
            "of CrossEncoder are; export it as merged"
        )


def _tokenizer_settings(ranker: Ranker, folder: Path) -> dict[str, str]:
    """How the tokenizer in `folder` must be loaded to give the ids of the ranker.

    For Qwen2 and a few more, transformers builds a class of its own and drops the borders of tokenizer.json. Asked
    for the type of a family that has no such class, it takes the file as it is.
    """
    from transformers import AutoTokenizer

    texts, wanted = prompt_texts(*_probe(ranker)), _probe_ids(ranker)
    for settings in ({}, {"tokenizer_type": "granite"}):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **settings)
        if [pair_ids(tokenizer, *pair) for pair in texts.pairs] == wanted:
            return settings
    raise ModelError(
        f"crossencoder: the tokenizer of {ranker.weights.name} reads a prompt in one string otherwise than in pieces; "
        "export it as merged"
    )


def _probe(ranker: Ranker) -> tuple[Any, str, Sequence[str], Sequence[str]]:
    """The arguments of `prompt_texts` for a made-up user."""
    texts = ("Green lamps, 2 pieces", "Øl & «brød»", "東京の本", "  (no) ")
    items = {str(place): dict.fromkeys(ranker.attributes, text) for place, text in enumerate(texts)}
    ids = list(items)
    return ranker.prompts(items), "Likes 1970s lamps; dislikes “noise”.", ids[:2], ids[2:]


def _probe_ids(ranker: Ranker) -> list[tuple[int, ...]]:
    prompts, *request = _probe(ranker)
    prompt = prompts.build(*request)
    return [prompt.prefix + suffix for suffix in prompt.suffixes]


@torch.inference_mode()
def _log_odds(ranker: Ranker, model: Any, padding: int = 0) -> torch.Tensor:
    ids = _probe_ids(ranker)[0]
    rows = torch.tensor([[ids[0]] * padding + list(ids)])
    mask = (torch.arange(rows.shape[1]) >= padding).long()[None]
    logits: torch.Tensor = model(input_ids=rows, attention_mask=mask).logits[0, -1]
    return logits[ranker.answers.yes_id] - logits[ranker.answers.no_id]


def _cross_encoder_files(ranker: Ranker, model: Any, tokenizer_settings: dict[str, str]) -> dict[str, Any]:
    """The JSON files of sentence-transformers by name.

    Nothing is truncated: the texts come within the budgets already, and a cut would take parts that never give way.
    """
    output = {"method": "forward", "method_output_name": "logits"}
    head = model.get_output_embeddings()
    names = [f"0.model.{name}" for name, module in model.named_modules() if module is head and type(head) is nn.Linear]
    modules = {
        "": "sentence_transformers.base.modules.transformer.Transformer",
        "1_LogitScore": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
    }
    return {
        "modules.json": [
            {"idx": place, "name": str(place), "path": folder, "type": kind}
            for place, (folder, kind) in enumerate(modules.items())
        ],
        "sentence_bert_config.json": {
            "transformer_task": "text-generation",
            "modality_config": {"text": output, "message": output | {"format": "flat"}},
            "module_output_name": "causal_logits",
            "processing_kwargs": {"text": {"truncation": False}},
            "processor_kwargs": tokenizer_settings,
        },
        "1_LogitScore/config.json": {
            "true_token_id": ranker.answers.yes_id,
            "false_token_id": ranker.answers.no_id,
            "module_input_name": "causal_logits",
        },
        "config_sentence_transformers.json": {
            "model_type": "CrossEncoder",
            "activation_fn": "torch.nn.modules.linear.Identity",
            "keep_in_fp32_modules": names,  # in bfloat16 the log-odds of different candidates would tie
            "prompts": {},
            "default_prompt_name": None,
        },
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _head(ranker: Ranker, library: str, task: str) -> str:
    return (
        f"---\nbase_model: {hub_name(ranker.weights)}\nlibrary_name: {library}\npipeline_tag: {task}\n"
        "tags: [trsr, recommendation]\n---\n\n"
        f"# Ranker tuned on {ranker.weights.name}\n\n"
    )


def _merged_card(ranker: Ranker, dtype: str) -> str:
    answers = ranker.answers
    return f"""{_head(ranker, "transformers", "text-generation")}The whole weights in {dtype}, the adapter of a ranker \
merged in by trsr {__version__}. The score of a candidate is the logit of
`{answers.yes_piece}` (id {answers.yes_id}) less that of `{answers.no_piece}` (id {answers.no_id}) behind the prompt.

```python
import torch
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("this folder")
prompt = ranker.prompts(catalogue).build(summary, history, candidates)  # a trsr Ranker: ids of the prompt
ids = [*prompt.prefix, *prompt.suffixes[0]]
logits = model(torch.tensor([ids])).logits[0, -1]
score = logits[{answers.yes_id}] - logits[{answers.no_id}]
```
"""


def _cross_encoder_card(ranker: Ranker, dtype: str) -> str:
    return f"""{_head(ranker, "sentence-transformers", "text-ranking")}The whole weights in {dtype}, exported by trsr \
{__version__}. Scores are log-odds of yes; a sigmoid makes them probabilities. The
texts come from trsr, which knows the templates (`{ranker.templates.name}`) and budgets that the ranker was tuned with.

```python
from sentence_transformers import CrossEncoder
from trsr.ranking.pairs import pair_texts

model = CrossEncoder("this folder")
texts = pair_texts(ranker, history, candidates, summary)  # a trsr Ranker, and the arguments of its rank
scores = model.predict(texts.pairs)
ranked = model.rank(texts.user, texts.candidates)
```
"""
