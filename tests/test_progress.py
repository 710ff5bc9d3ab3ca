"""Progress: plain lines where nobody watches, a bar where somebody does, and never on stdout."""

import sys

import pytest

from trsr import progress
from trsr.progress import say, stage


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_long_work_tells_rate_and_remaining_time_in_plain_lines(clock, capsys):
    with stage("scoring", 100) as work:
        for done in range(1, 101):
            clock[0] += 1
            work.update(done, "well")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  scoring: 16 of 100, 1.00/s, 84 s left, well"
    assert len(lines) == 100 // 16 + 1
    assert lines[-1] == "scoring: 100 in 100.0 s"


def test_the_rate_leaves_out_what_an_earlier_run_did(clock, capsys):
    """A run that continues at 90 of 100 must not promise to end at once."""
    with stage("training") as work:
        work.update(90, total=100)
        for _ in range(2):
            clock[0] += 20
            work.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  training: 91 of 100, 0.05/s, 180 s left"


def test_short_work_is_one_line(clock, capsys):
    with stage("tables", 3) as work:
        for _ in range(3):
            work.advance()
    printed = capsys.readouterr()
    assert printed.err == "tables: 3 in 0.0 s\n"
    assert printed.out == ""


def test_on_a_terminal_there_is_a_bar_on_stderr(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with stage("scoring", 2) as work:
        work.advance("fine")
        work.advance("done")
    printed = capsys.readouterr()
    assert "scoring" in printed.err
    assert "2/2" in printed.err
    assert printed.out == ""


def test_say_speaks_on_stderr(capsys):
    say("hello")
    assert capsys.readouterr() == ("", "hello\n")
