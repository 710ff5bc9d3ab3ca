import pytest

from cli.program import Program


@pytest.fixture
def trsr(monkeypatch, capfd):
    return Program(monkeypatch, capfd)
