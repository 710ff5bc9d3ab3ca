"""Print the section of RESULTS.md for each run folder: python experiments/results.py runs/films runs/products."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from trsr.evaluation.table import markdown_table


def section(run: Path) -> str:
    manifest, metrics = (json.loads((run / name).read_text()) for name in ("manifest.json", "metrics.json"))
    data, machine = manifest["data"], manifest["machine"]
    examples = ", ".join(f"{count} {split}" for split, count in data["examples"].items())
    tuned = bool(manifest.get("training"))
    kind = f", {manifest['ranker']['dtype']}" if "ranker" in manifest else ""
    parts = [
        f"## {manifest['name']}",
        f"`trsr run experiments/{manifest['name']}.yaml`, trsr {machine['trsr']}, torch {machine['torch']}, "
        f"{machine['device']}, {machine['threads']} threads{kind}, seed {manifest['seed']}. "
        f"Data: {data['cleaning']['users']:,} users, {data['cleaning']['events']:,} events, "
        f"{data['cleaning']['items']:,} items; split by {data['split']}, {examples} examples.",
        markdown_table(metrics),
    ]
    if (run / "baselines").is_dir():
        parts += ["What tuning on validation chose (mean of recall@3, @5, @10):", baselines(run)]
    if tuned:
        parts += [
            "Validation before tuning and at each evaluation (mean of recall@3, @5, @10; loss that was trained on):",
            learning(run),
            cost(manifest),
            "Three summaries, drawn by the seed:",
            summaries(run, manifest["seed"]),
        ]
    parts += ["What the run found when it checked itself:", checks(run)]
    return "\n\n".join(parts)


def baselines(run: Path) -> str:
    lines = ["| baseline | settings tried | chosen | validation | seconds in all |", "|---|---|---|---|---|"]
    for path in sorted((run / "baselines").glob("*.json")):
        log = json.loads(path.read_text())
        chosen = ", ".join(f"{name} {value}" for name, value in log["settings"].items()) or "-"
        seconds = sum(entry["seconds"] for entry in log["tried"])
        lines.append(f"| {path.stem} | {len(log['tried'])} | {chosen} | {log['valid_recall']:.3f} | {seconds:.0f} |")
    return "\n".join(lines)


def learning(run: Path) -> str:
    lines = ["| model | step | loss | recall |", "|---|---|---|---|"]
    for path in sorted((run / "training").glob("*.json")):
        log = json.loads(path.read_text())
        for entry in log["evaluations"]:
            kept = " (kept)" if entry["step"] == log["best_step"] else ""
            lines.append(
                f"| {path.stem} | {entry['step']}{kept} | {entry['valid_loss']:.3f} | {entry['valid_recall']:.3f} |"
            )
    return "\n".join(lines)


def cost(manifest: dict) -> str:
    seconds, calls = manifest["seconds"], manifest["summaries"]["of_these_made_now"]
    trained = sum(entry["tokens"] for entry in manifest["training"].values())
    scored = sum(entry["prefix_tokens"] + entry["suffix_tokens"] for entry in manifest["scoring"].values())
    stages = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items() if value >= 1)
    return (
        f"Wall time {sum(seconds.values()) / 60:.0f} min: {stages}. Summaries: {calls['calls']:,} calls, "
        f"{calls['tokens_in']:,} tokens read, {calls['tokens_out']:,} written. Training read {trained:,} tokens, "
        f"scoring {scored:,}."
    )


def summaries(run: Path, seed: int) -> str:
    frame = pl.read_parquet(run / "summaries.parquet")
    rows = np.random.default_rng(seed).choice(len(frame), size=3, replace=False)
    return "\n".join(
        f"- {row['method']}, {row['example_id']}, {row['calls']} calls: {row['summary']}"
        for row in frame[sorted(rows.tolist())].iter_rows(named=True)
    )


def checks(run: Path) -> str:
    entries = json.loads((run / "checks.json").read_text())
    fine = sum(entry["result"] == "ok" for entry in entries)
    look = [f"- look: {entry['check']}: {entry['detail']}" for entry in entries if entry["result"] != "ok"]
    return "\n".join([f"- {fine} of {len(entries)} checks ok (leaks, chance, ties, whole prompts)", *look])


if __name__ == "__main__":
    print("\n\n".join(section(Path(argument)) for argument in sys.argv[1:]))
