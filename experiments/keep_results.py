"""The small files of finished runs and grids, for `experiments/results`: what RESULTS.md is written from.

python experiments/keep_results.py runs/main-films runs/ablation-films

Of a run: the report as Markdown, settings, manifest, metrics, comparisons, controls, what the baselines tried and the
weights of mixes; of a grid the report, its record, and manifest and metrics of every cell. The stories of users are
left out, for they show data.
"""

import argparse
import json
import re
from pathlib import Path

from trsr.config import RECORD
from trsr.evaluation.report import write_report
from trsr.experiment.grid import is_done
from trsr.experiment.run_folder import RunFolder

RESULTS = Path(__file__).parent / "results"
OF_RUN = ("config.yaml", "manifest.json", "metrics.json", "comparisons.json", "controls.json")
OF_CELL = ("manifest.json", "metrics.json")
STORIES = re.compile(r"^## Users’ stories\n.*?(?=^## )", re.MULTILINE | re.DOTALL)
ROOT = f"{Path.cwd().resolve().parent}/"  # beside the checkout lies the data


def keep(folder: Path, names: tuple[str, ...], place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (folder / name).exists():
            text = (folder / name).read_text(encoding="utf-8")
            (place / name).write_text(text.replace(ROOT, "../"), encoding="utf-8")


def keep_report(folder: Path, place: Path) -> None:
    page = folder / "report.md"
    write_report(folder, out=folder / "report.html", markdown=page)
    text = STORIES.sub("", page.read_text(encoding="utf-8")).replace(ROOT, "../")
    (place / "report.md").write_text(text, encoding="utf-8")


def main(folder: Path) -> None:
    place = RESULTS / folder.name
    if (folder / RECORD).exists():
        keep(folder, (RECORD,), place)
        for cell in json.loads((folder / RECORD).read_text(encoding="utf-8"))["cells"]:
            if is_done(RunFolder(folder / cell["name"])):
                keep(folder / cell["name"], OF_CELL, place / cell["name"])
    else:
        keep(folder, OF_RUN, place)
        for part in ("baselines", "mixes"):
            found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob(f"{part}/*.json"))}
            (place / f"{part}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    keep_report(folder, place)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of finished runs and of grids")
    folders = parser.parse_args().folders
    for folder in folders:
        if not any((folder / name).exists() for name in (RECORD, "metrics.json")):
            parser.error(f"{folder}: no finished run and no grid; give a folder that `trsr run` has made")
    for folder in folders:
        main(folder)
