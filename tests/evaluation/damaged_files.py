"""Reads each damaged scores file of a folder from a number on, one line of output for each.

A process of its own, because a wrong length in a page can make polars ask for more memory than there is, which ends
the process whatever Python does.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl

from trsr.config import EvaluationConfig
from trsr.data.candidates import read_candidates
from trsr.data.reading import read_table
from trsr.errors import DataError
from trsr.evaluation.evaluate import evaluate


def outcome(candidates: pl.DataFrame, path: Path) -> str:
    try:
        result = evaluate(candidates, {"mine": read_table(path)}, EvaluationConfig(ks=[1, 3], resamples=100))
    except DataError as error:
        return repr(str(error))
    return "numbers" if np.isfinite(result.per_user.drop("model", "user_id").to_numpy()).all() else "no numbers"


def main() -> None:
    folder, start = Path(sys.argv[1]), int(sys.argv[2])
    candidates = read_candidates(folder / "candidates.parquet")
    for path in sorted(folder.glob("[0-9]*.parquet"))[start:]:
        sys.stdout.write(outcome(candidates, path) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
