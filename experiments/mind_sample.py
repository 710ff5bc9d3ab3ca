"""Raw MIND impressions as a dataset folder, also where news.tsv lacks most of the news (as in a sample of the rows).

python experiments/mind_sample.py ../shared/data/mind_sample/raw runs/mind-sample: an article that is not described gets
its id as its title, so only baselines that read no texts mean anything there.
"""

import sys
import tempfile
from pathlib import Path

from trsr.data.importing import import_dataset


def described(raw: Path, folder: Path) -> None:
    """Copy behaviors.tsv, and news.tsv with a row for every article of an impression or a history."""
    behaviors = (raw / "behaviors.tsv").read_text(encoding="utf-8")
    news = (raw / "news.tsv").read_text(encoding="utf-8")
    known = {line.partition("\t")[0] for line in news.splitlines()}
    fields = [line.split("\t") for line in behaviors.splitlines()]
    named = {item for row in fields for item in (*row[3].split(), *(shown[:-2] for shown in row[4].split()))}
    rows = [f"{item}\tnews\tnews\t{item}\t\t\t[]\t[]\n" for item in sorted(named - known)]
    (folder / "behaviors.tsv").write_text(behaviors, encoding="utf-8")
    (folder / "news.tsv").write_text(f"{news.rstrip()}\n{''.join(rows)}", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        described(Path(sys.argv[1]), Path(work))
        print("\n".join(import_dataset("mind", Path(work), Path(sys.argv[2])).lines()))
