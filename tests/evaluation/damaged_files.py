"""Reads each damaged file of a folder from a number on, one line of output for each: candidates or scores.

A process of its own, because a wrong length in a page can make polars ask for more memory than there is, which ends
the process whatever Python does.
"""

import sys
from pathlib import Path

import numpy as np

from trsr.config import EvaluationConfig
from trsr.data.candidates import read_candidates
from trsr.data.reading import read_table
from trsr.errors import DataError
from trsr.evaluation.evaluate import evaluate


def outcome(candidates: Path, scores: Path) -> str:
    try:
        known = read_candidates(candidates)
        result = evaluate(known, {"mine": read_table(scores)}, EvaluationConfig(ks=[1, 3], resamples=100))
    except DataError as error:
        return repr(str(error))
    return "numbers" if np.isfinite(result.per_user.drop("model", "user_id").to_numpy()).all() else "no numbers"


def main() -> None:
    folder, damaged, start = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    whole = {name: folder / f"{name}.parquet" for name in ("candidates", "scores")}
    for path in sorted(folder.glob("[0-9]*.parquet"))[start:]:
        sys.stdout.write(outcome(**whole | {damaged: path}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
