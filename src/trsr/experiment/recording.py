"""What a run writes down before it begins: its tasks, and from what and on which machine it is made."""

from typing import Any

import polars as pl

from trsr.config import ExperimentConfig
from trsr.data.columns import EXAMPLE, TEST, TRAIN, VALID
from trsr.experiment.machine import describe_machine, fingerprint_models, source_commit
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.tasks import Tasks
from trsr.progress import say
from trsr.prompts.templates import TemplateSet


def record_start(folder: RunFolder, tasks: Tasks, config: ExperimentConfig) -> None:
    """Save examples, candidates and the first lines of the manifest.

    Raises `DataError` where the folder was made from other data, templates or weights than there are now.
    """
    fingerprints = {
        "data": tasks.dataset.fingerprint,
        "templates": TemplateSet(config.prompt.template).fingerprint,
        **fingerprint_models(config),
    }
    for what, fingerprint in fingerprints.items():
        folder.refuse_change(what, fingerprint)
    learning = pl.concat([tasks.candidates[TRAIN], tasks.candidates[VALID]])
    folder.keep_table("examples.parquet", tasks.examples.frame)
    folder.keep_table("candidates.parquet", tasks.candidates[TEST])
    folder.keep_table("training_candidates.parquet", learning)
    counts = {split: frame[EXAMPLE].n_unique() for split, frame in tasks.candidates.items()}
    folder.update_manifest(
        name=config.name,
        seed=config.seed,
        data={
            "name": tasks.dataset.name,
            "attributes": list(tasks.dataset.attributes),
            "split": tasks.examples.by,
            "examples": counts,
            "cleaning": tasks.dataset.report.as_dict(),
        },
        fingerprints=fingerprints,
        commit=folder.read_manifest().get("commit") or source_commit(),
        **_machines(folder),
    )
    say(f"data: {'; '.join(tasks.dataset.report.lines())}")
    say(f"split by {tasks.examples.by}: {', '.join(f'{count} {split}' for split, count in counts.items())} examples")


def _machines(folder: RunFolder) -> dict[str, Any]:
    """The machine that the run was begun on, and the others that it was continued on."""
    begun, now = folder.read_manifest().get("machine"), describe_machine()
    others = folder.read_manifest().get("continued_on", [])
    if begun is None or now == begun or now in others:
        return {"machine": begun or now}
    return {"continued_on": [*others, now]}
