"""The `trsr` program in this process: what it prints where, and its exit code."""

import sys
from dataclasses import dataclass

import pytest

from trsr.cli.app import main

LIBRARY_SETTINGS = ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS", "TOKENIZERS_PARALLELISM", "TQDM_DISABLE")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that an error ends with."""
        lines = [line for line in self.err.splitlines() if line.startswith("trsr: ")]
        assert len(lines) == 1, self.err
        assert self.err.endswith(lines[0] + "\n")
        assert "Traceback" not in self.err
        assert self.out == ""
        return lines[0].removeprefix("trsr: ")


class Program:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd
        for name in LIBRARY_SETTINGS:
            monkeypatch.setenv(name, "1" if name != "TRANSFORMERS_VERBOSITY" else "error")

    def __call__(self, *arguments: object) -> Outcome:
        self._monkeypatch.setattr(sys, "argv", ["trsr", *map(str, arguments)])
        self._capfd.readouterr()
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        else:
            code = 0
        return Outcome(code, *self._capfd.readouterr())
