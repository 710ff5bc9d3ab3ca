"""Where results come from: the checks that runs made of themselves, what each was made with, and what is missing."""

import shlex
from collections.abc import Sequence

from trsr.evaluation.run_collection import LeftOut
from trsr.evaluation.run_files import Check, RunFiles
from trsr.evaluation.run_groups import RunGroup, settings_text, value_text
from trsr.evaluation.sections import Cell, Detail, Section, Table, TableRow
from trsr.evaluation.table import UNKNOWN
from trsr.evaluation.variants import SEEDS, seeds_of

GOOD = {"ok", "pass", "passed"}
MANY = 6
"""Settings that are told side by side."""

LIBRARIES = ("python", "torch", "transformers", "peft")


def runs_section(groups: Sequence[RunGroup], left_out: Sequence[LeftOut]) -> Section:
    """Every run with the settings that tell it from the others of its group, and what is in no table."""
    rows = list[TableRow]()
    for number, group in enumerate(groups, 1):
        where = [str(number)] if len(groups) > 1 else []
        runs = [run for _, run in group.labelled]
        for seed, run in zip(seeds_of(runs), runs, strict=True):
            told = _settings_of(run, group)
            rows.append([run.name, *where, told or UNKNOWN, seed, Cell("done", tone="good")])
    for one in left_out:
        order = [key for group in groups for key in group.varied if key in one.settings]
        keys = dict.fromkeys([*order, *(key for key in one.settings if key not in SEEDS)])
        told = settings_text({key: one.settings[key] for key in keys}, list(keys))
        where = [UNKNOWN] if len(groups) > 1 else []
        seed = next((value_text(one.settings[key]) for key in SEEDS if key in one.settings), UNKNOWN)
        state = Cell(one.state, one.reason, "attention")
        rows.append([one.place, *where, told or UNKNOWN, seed, state])
    header = ["run", *(["part"] if len(groups) > 1 else []), "settings that vary", "seed", "state"]
    note = ""
    if len(groups) > 1:
        note = "Runs of different data or protocols stand in parts of their own: their numbers cannot be compared."
    return Section("Runs", note, tables=[Table(header, rows, numeric=False, caption="Runs of this report")])


def _settings_of(run: RunFiles, group: RunGroup) -> str:
    """The values of all that varies; where that is much, of what is other than in the group's first run."""
    varied, first = list(group.varied), group.runs[0]
    if len(varied) <= MANY:
        return settings_text({key: run.settings.get(key) for key in varied}, varied)
    if run is first:
        return "what the others are told by their difference to"
    other = {key: run.settings.get(key) for key in varied if run.settings.get(key) != first.settings.get(key)}
    if len(other) > MANY:
        return f"{len(other)} settings, see config.yaml"
    return settings_text(other, varied) or "in models alone"


def checks_section(group: RunGroup) -> Section | None:
    """All checks of one run; of several, how many are fine and each that wants a look."""
    found = [(label, check) for label, run in group.labelled for check in run.checks]
    if not found:
        return None
    caption = "What the run checked of itself"
    if len(group.runs) == 1:
        rows: list[TableRow] = [[check.check, _result(check), check.detail] for _, check in found]
        return Section("Checks", tables=[Table(["check", "result", "detail"], rows, numeric=False, caption=caption)])
    look: list[TableRow] = [
        [label, check.check, _result(check), check.detail] for label, check in found if not _is_good(check)
    ]
    note = f"{len(found) - len(look):,} of {len(found):,} checks of {len(group.runs):,} runs are ok."
    table = Table(["run", "check", "result", "detail"], look, numeric=False, caption=f"{caption} and wants a look")
    return Section("Checks", note, tables=[table] if look else [])


def choices_section(group: RunGroup) -> Section | None:
    """What tuning on validation chose for the baselines."""
    rows = [
        [
            name,
            *([label] if len(group.runs) > 1 else []),
            f"{len(choice.tried):,}",
            ", ".join(f"{key} {value_text(value)}" for key, value in choice.settings.items()) or UNKNOWN,
            UNKNOWN if choice.valid_recall is None else f"{choice.valid_recall:.3f}".removeprefix("0"),
            ", ".join(choice.at_edge) or UNKNOWN,
            f"{sum(attempt.seconds for attempt in choice.tried):,.0f}",
        ]
        for label, run in group.labelled
        for name, choice in run.choices.items()
    ]
    if not rows:
        return None
    header = [
        "baseline",
        *(["run"] if len(group.runs) > 1 else []),
        "tried",
        "chosen",
        "validation",
        "at the edge",
        "seconds",
    ]
    note = (
        "How many settings were tried, which of them had the best mean of recall on validation, which values are the "
        "least or greatest of three and more that were tried, beyond which a better one may lie, and seconds in all."
    )
    return Section("Baselines", note, tables=[Table(header, rows, numeric=False, caption="Settings of the baselines")])


def origin_section(group: RunGroup) -> Section:
    """Command, version, device, seeds, data and times; all of manifest and settings for who wants to know."""
    facts = [_facts(run) for run in group.runs]
    if len(facts) == 1:
        return Section("How it was made", facts=list(facts[0].items()), details=_details("", group.runs[0]))
    names = dict.fromkeys(name for one in facts for name in one)
    same = {name for name in names if len({one.get(name) for one in facts}) == 1}
    shared = [(name, facts[0][name]) for name in names if name in same]
    own = [name for name in names if name not in same]
    rows = [
        [label or run.name, *(one.get(name, UNKNOWN) for name in own)]
        for (label, run), one in zip(group.labelled, [_facts(run) for _, run in group.labelled], strict=True)
    ]
    details = [detail for label, run in group.labelled for detail in _details(f"{label or run.name}: ", run)]
    table = Table(["run", *own], rows, numeric=False, caption="What the runs were made with")
    return Section("How it was made", facts=shared, tables=[table] if own else [], details=details)


def _facts(run: RunFiles) -> dict[str, str]:
    manifest = run.manifest
    machine, data = run.part("machine"), run.part("data")
    cleaning, examples = run.numbers("data", "cleaning"), run.numbers("data", "examples")
    seconds = run.numbers("seconds")
    sizes = [f"{cleaning[name]:,} {name}" for name in ("users", "events", "items") if name in cleaning]
    spent = sorted(seconds.items(), key=lambda entry: -entry[1])[:4]
    found = {
        "run again": f"trsr run {shlex.quote((run.path / 'config.yaml').as_posix())} --out NEW" if run.config else None,
        "seed": run.settings.get("seed", manifest.get("seed")),
        "seed of training": run.settings.get("training.seed"),
        "trsr": machine.get("trsr"),
        "commit": manifest.get("commit"),
        "with": ", ".join(f"{name} {machine[name]}" for name in LIBRARIES if name in machine),
        "device": machine.get("device"),
        "threads": machine.get("threads"),
        "data": ", ".join([str(data.get("name", "")), *sizes]).strip(", "),
        "test examples": examples.get("test"),
        "training examples": examples.get("train"),
        "ranker": run.part("ranker").get("base"),
        "summariser": run.part("summaries").get("model"),
        "wall time": f"{sum(seconds.values()) / 60:.1f} min" if seconds else None,
        "most of it": ", ".join(f"{name} {value:,.0f} s" for name, value in spent if value >= 1),
        "finished": manifest.get("finished"),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _details(before: str, run: RunFiles) -> list[Detail]:
    manifest = Detail(f"{before}versions, device, times and counts (manifest.json)", run.manifest)
    return [manifest, Detail(f"{before}settings (config.yaml)", run.config)] if run.config else [manifest]


def _result(check: Check) -> Cell:
    return Cell(check.result, tone="good" if _is_good(check) else "attention")


def _is_good(check: Check) -> bool:
    return check.result.lower() in GOOD
