"""What the runs of a grid have in common: one store of summaries, and models that one run has made and others take.

A model is taken where everything that its scores depend on is the same. That is told by one key: a hash of the data,
the events to fit on, the candidates, the settings that reach the model, the texts of its summaries, the fingerprints
of weights and templates, and the machine with its versions. Settings that do not reach a model are not in its key.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import polars as pl

from trsr.config import TUNED, UNTUNED, ExperimentConfig, RankerMethod, load_experiment
from trsr.data.columns import EXAMPLE, TEST, TRAIN, VALID
from trsr.data.dataset import add_table
from trsr.errors import DataError
from trsr.experiment.machine import describe_machine
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.tasks import Tasks
from trsr.files import whole_file, whole_folder
from trsr.progress import say

# settings of summaries that do not change their texts, and the template set, which is told beside them
_IDLE = ("store", "batch_size", "template")
_OF_TRAINING = ("train_negatives", "train_source")  # settings of candidates
_IDLE_WITHOUT_LLM = ("backend", "model", "dtype")
_RECORDS = ("training", "scoring", "speed")  # of the manifest, by model
_OF_RANKER = ("attention", "ranker")  # of the manifest, for the whole run
# what of the settings the fingerprints in a manifest are of
_MADE_FROM: Mapping[str, Any] = {
    "data": lambda config: (config.data, config.seed),
    "templates": lambda config: config.prompt.template,
    "summary templates": lambda config: config.summary_template,
    "weights": lambda config: config.ranker.base,
    "summariser": lambda config: config.summaries.model,
    "embedding": lambda config: config.encoder_model,
}

Summaries = Mapping[str, Mapping[str, str]]


def untuned_method(config: ExperimentConfig) -> RankerMethod:
    """The method whose prompts the untuned ranker reads."""
    return "none" if "none" in config.methods else config.methods[0]


@dataclass(frozen=True)
class Inputs:
    """What the models of one experiment are made from, besides settings: by name, anything that JSON can hold.

    `found` is what is there; `planned` stands for it before it is made, and is the same where the settings that decide
    it are.
    """

    events: Any
    candidates: Mapping[str, Any]
    texts: Mapping[str, Any]
    templates: Any
    weights: Any
    encoder: Any
    machine: Any

    @classmethod
    def found(cls, tasks: Tasks, summaries: Summaries, folder: RunFolder) -> Self:
        """Of data and summaries that were made, with the fingerprints in the manifest."""
        fingerprints = folder.read_manifest()["fingerprints"]
        candidates = {split: hash_table(frame) for split, frame in tasks.candidates.items()}
        examples = {split: tasks.candidates[split][EXAMPLE].unique().sort().to_list() for split in candidates}
        texts = {
            method: {split: _hash([texts_of.get(name, "") for name in names]) for split, names in examples.items()}
            for method, texts_of in summaries.items()
        }
        return cls(
            [fingerprints["data"], hash_table(tasks.examples.fit_events)],
            candidates,
            texts,
            fingerprints["templates"],
            fingerprints.get("weights"),
            fingerprints.get("embedding"),
            describe_machine(),
        )

    @classmethod
    def planned(cls, config: ExperimentConfig) -> Self:
        """Of the settings alone."""
        plain = config.model_dump(mode="json")
        split, data = plain["split"], [plain["data"], plain["seed"]]
        drawn = {name: plain["candidates"][name] for name in plain["candidates"] if name not in _OF_TRAINING}
        learnt = [plain["candidates"], split["max_train"], split["targets_per_user"]]
        return cls(
            [*data, split["by"], split["valid"], split["test"]],
            {TRAIN: learnt, VALID: [drawn, split["max_valid"]], TEST: [drawn, split["max_test"]]},
            {method: dict.fromkeys((TRAIN, VALID, TEST), _planned_texts(config, method)) for method in config.methods},
            plain["prompt"]["template"],
            plain["ranker"]["base"],
            config.encoder_model,
            None,
        )


def _planned_texts(config: ExperimentConfig, method: str) -> Any:
    if method not in config.summary_methods:
        return None
    idle = [*_IDLE, *(_IDLE_WITHOUT_LLM if method == "extractive" and config.summaries.segments != "tokens" else ())]
    return [config.summary_template, config.summaries.model_dump(mode="json", exclude=set(idle))]


def key_of(model: str, config: ExperimentConfig, inputs: Inputs) -> str:
    """SHA-256 over everything that the scores of a model depend on: the same key, the same scores."""
    plain = config.model_dump(mode="json")
    parts: dict[str, Any] = {
        "model": model,
        "events": inputs.events,
        "max_history": config.data.max_history,
        "candidates": {split: inputs.candidates[split] for split in (VALID, TEST)},
        "templates": inputs.templates,
        "machine": inputs.machine,
        "checks": plain["checks"],
    }
    if model in config.baselines:
        parts |= {"seed": config.seed}
        if model == "embedding":
            parts |= {"encoder": inputs.encoder, "embedding": plain["embedding"] | {"model": None}}
        return _hash(parts)
    parts |= {"weights": inputs.weights, "prompt": plain["prompt"], "ranker": plain["ranker"]}
    if model == UNTUNED:
        method = untuned_method(config)
        return _hash(parts | {"method": method, "texts": inputs.texts[method][TEST]})
    training = config.training.model_dump(mode="json", exclude=config.training.undecided)
    learnt = {"candidates": inputs.candidates, "training": training, "seed": config.seed}
    learnt |= {"texts": inputs.texts[model.removeprefix(TUNED)], "min_rating": config.data.min_rating}
    return _hash(parts | learnt)


@dataclass(frozen=True)
class Sharing:
    """What a run shares: `store`, the place of the calls of summarising, and `others`, the run folders to take from.

    A folder of `others` may be missing yet, or half done.
    """

    store: Path
    others: Sequence[RunFolder]

    def take(self, folder: RunFolder, config: ExperimentConfig, tasks: Tasks, summaries: Summaries) -> None:
        """Put every model into `folder` that another run has made from the same inputs, and note the key of each.

        The manifest says in `taken` where a model comes from, and in `inputs` what its key is: "" where it was begun
        from other inputs than it goes on with, such as on another machine, for then no other run would make the same.
        Raises `DataError` where the others were made from other data, templates or weights than there are now.
        """
        self._refuse_change(folder, config)
        inputs = Inputs.found(tasks, summaries, folder)
        keys = {model: key_of(model, config, inputs) for model in config.models}
        for model, key in keys.items():
            if _is_whole(folder, model):
                continue
            source = self._source(model, key)
            noted = folder.read_manifest().get("inputs", {}).get(model)
            is_same = source is not None or not _is_begun(folder, model) or noted == key
            if source is not None:
                _take(model, source, folder)
            folder.update_manifest(inputs={model: key if is_same else ""})

    def _source(self, model: str, key: str) -> RunFolder | None:
        made = (other for other in self.others if other.read_manifest().get("inputs", {}).get(model) == key)
        return next((other for other in made if _is_whole(other, model)), None)

    def _refuse_change(self, folder: RunFolder, config: ExperimentConfig) -> None:
        now = folder.read_manifest()["fingerprints"]
        for other in self.others:
            then = other.read_manifest().get("fingerprints", {})
            changed = [what for what in _MADE_FROM if what in then and then[what] != now.get(what, then[what])]
            there = load_experiment(other.config) if changed else config
            for what in changed:
                if _MADE_FROM[what](there) == _MADE_FROM[what](config):
                    raise DataError(
                        f"{folder.path}: {other.path.name} was made from other {what} than there are now, so the two "
                        "could not be compared; give another --out, or delete the folders of the cells made before"
                    )


def hash_table(frame: pl.DataFrame) -> str:
    """SHA-256 of the columns, their types and all rows in their order."""
    digest = sha256()
    add_table(digest, frame)
    return digest.hexdigest()


def _hash(content: Any) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_whole(folder: RunFolder, model: str) -> bool:
    """Whether a model is done: its scores are there and, of an LLM, the counts of its prompts, which come last."""
    of_llm = model == UNTUNED or model.startswith(TUNED)
    counted = not of_llm or model in folder.read_manifest().get("scoring", {})
    return counted and folder.scores(model).exists()


def _is_begun(folder: RunFolder, model: str) -> bool:
    """Whether something of a model is there."""
    places = (*_files(folder, model), folder.checkpoints(model), *_parts(folder, model))
    return any(place.exists() for place in places)


def _files(folder: RunFolder, model: str) -> list[Path]:
    """All that is kept of a model, beside its adapter; the scores come last, for they say that all is there."""
    return [folder.choice(model), folder.training_log(model), folder.scores(model, VALID), folder.scores(model)]


def _parts(folder: RunFolder, model: str) -> list[Path]:
    """Where scores are kept until they are whole."""
    return [folder.score_parts(model, split) for split in (VALID, TEST)]


def _take(model: str, source: RunFolder, folder: RunFolder) -> None:
    """Link the files of a model that is whole in `source`, and write what its manifest says of it."""
    there, here = source.read_manifest(), folder.read_manifest()
    origin = there.get("taken", {}).get(model, source.path.name)
    if origin == folder.path.name:  # which was deleted since
        origin = source.path.name
    for leftover in (folder.checkpoints(model), *_parts(folder, model)):
        shutil.rmtree(leftover, ignore_errors=True)
    for old, new in (
        (source.adapter(model), folder.adapter(model)),
        (source.controls(model), folder.controls(model)),
    ):
        if old.exists():
            with whole_folder(new) as work:
                shutil.copytree(old, work, copy_function=_link, dirs_exist_ok=True)
    records: dict[str, Any] = {name: {model: there[name][model]} for name in _RECORDS if model in there.get(name, {})}
    if model in there.get("scoring", {}):
        records |= {name: there[name] for name in _OF_RANKER if name not in here}
    folder.update_manifest(**records, taken={model: origin})
    for old, new in zip(_files(source, model), _files(folder, model), strict=True):
        if old.exists():
            with whole_file(new) as part:
                _link(old, part)
    say(f"{model}: taken from {origin}, which made it from the same inputs")


def _link(source: str | Path, target: str | Path) -> None:
    """The same file under another name; a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
