"""The error classes of trsr: each carries one sentence for the user and the exit code of the command.

A message names the place (file, row, field), the fact and the remedy. Exit codes: 1 is a bug in trsr,
2 usage or configuration, 3 bad data, 4 a model or backend that cannot do what was asked.
"""


class TrsrError(Exception):
    """Base of every error that trsr raises on purpose."""

    exit_code = 1


class ConfigError(TrsrError):
    """A setting, option or path is wrong; the remedy is in the hands of who typed it."""

    exit_code = 2


class DataError(TrsrError):
    """A data file cannot be used as it is."""

    exit_code = 3


class ModelError(TrsrError):
    """A model, its weights or a backend cannot do what was asked."""

    exit_code = 4
