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
        **_summary_templates(config),
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
        **_begun(folder, "commit", "continued_at", source_commit()),
        **_begun(folder, "machine", "continued_on", describe_machine()),
    )
    say(f"data: {'; '.join(tasks.dataset.report.lines())}")
    say(f"split by {tasks.examples.by}: {', '.join(f'{count} {split}' for split, count in counts.items())} examples")


def _summary_templates(config: ExperimentConfig) -> dict[str, str]:
    """The fingerprint of the summariser's own template set, where it has one."""
    own = config.summaries.template
    return {} if own is None else {"summary templates": TemplateSet(own).fingerprint}


def _begun(folder: RunFolder, name: str, later: str, now: Any) -> dict[str, Any]:
    """What a run was begun with under `name`, and all else that it was continued with under `later`."""
    begun, others = folder.read_manifest().get(name), folder.read_manifest().get(later, [])
    if begun is None or now in (None, begun, *others):
        return {name: begun or now}
    return {later: [*others, now]}
