"""The tables of RESULTS.md's protocols: python experiments/protocols.py runs/protocol-films-*.

The first has a line for each run, the second one for each segment of the first run, both with mean and half of the 95 %
interval of one metric for every model.
"""

import json
import sys
from pathlib import Path

from trsr.evaluation.table import number

KIND = "recall@3"


def cell(metrics: dict) -> str:
    found = next(value for name, value in metrics.items() if name.partition("/")[0] == KIND)
    return f"{number(found['mean'])} ±{number((found['high'] - found['low']) / 2)}"


def row(name: str, more: list[str], metrics: dict, models: list[str]) -> str:
    return f"| {' | '.join([name, *more, *(cell(metrics[model]) if model in metrics else '–' for model in models)])} |"


def tables(runs: list[Path]) -> str:
    all_metrics = {run.name: json.loads((run / "metrics.json").read_text()) for run in runs}
    segments = {run.name: json.loads((run / "segments.json").read_text()) for run in runs}
    models = list(dict.fromkeys(model for metrics in all_metrics.values() for model in metrics))
    head = " | ".join(models)
    lines = [f"| run | metric | examples | seconds | {head} |", f"|---|---|--:|--:|{'--:|' * len(models)}"]
    for run in runs:
        metrics, manifest = all_metrics[run.name], json.loads((run / "manifest.json").read_text())
        name = next(name for name in metrics["chance"] if name.startswith(f"{KIND}/"))
        more = [name, str(manifest["data"]["examples"]["test"]), f"{sum(manifest['seconds'].values()):.0f}"]
        lines.append(row(run.name, more, metrics, models))
    lines += ["", f"| segment of {runs[0].name} | examples | {head} |", f"|---|--:|{'--:|' * len(models)}"]
    lines += [
        row(name, [str(part["examples"])], part["metrics"], models) for name, part in segments[runs[0].name].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables([Path(argument) for argument in sys.argv[1:]]))
