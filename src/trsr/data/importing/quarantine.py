"""Bad rows, each with its file, line and reason, in a file beside the data."""

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from trsr.data.importing.source import SourceFile
from trsr.errors import DataError

NAME = "quarantine.jsonl"


class Quarantine:
    """Writes bad rows to `path` as lines of JSON; the file is there only if there are any. Use it in a `with` block."""

    def __init__(self, path: Path, max_bad: float) -> None:
        self.path, self.max_bad, self.rows = path, max_bad, 0
        self._file = path.open("w", encoding="utf-8", errors="backslashreplace")
        self._of_file: Counter[str] = Counter()
        self._first = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self.rows:
            self.path.unlink()

    def add(self, file: SourceFile, faults: pl.DataFrame) -> None:
        """Keep the faults of some rows of a file."""
        for row in faults.iter_rows(named=True):
            if not self._of_file:
                self._first = f"line {row['line']}: {row['reason']}"
            self._of_file[row["reason"]] += 1
            self._file.write(json.dumps({"file": file.name, **row}, ensure_ascii=False) + "\n")
        self.rows += faults.height

    def end_of_file(self, file: SourceFile, rows: int) -> int:
        """How many rows of the file are bad, of `rows` in all; `DataError` if they are too many."""
        bad = self._of_file.total()
        if bad and (not rows or bad / rows > self.max_bad):
            often, times = self._of_file.most_common(1)[0]
            raise DataError(
                f"{file.place}: {bad:,} of {rows:,} rows are bad, over {self.max_bad:.1%}; first {self._first}; "
                f"most often {often} ({times:,}); mend them, name another format or raise --max-bad"
            )
        self._of_file.clear()
        return bad
