"""Checks that a run makes of itself: each is a function that says in a sentence what it found and what to do."""

from trsr.experiment.checks.run import check_run

__all__ = ["check_run"]
