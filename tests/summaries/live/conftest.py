import pytest
from writer import writing

from cli.program import Program
from experiment.tiny_shop import make_base
from trsr.llm import http


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A folder with tiny weights; with a server for backend, its tokenizer alone is used."""
    return make_base(tmp_path_factory.mktemp("live") / "model")


@pytest.fixture
def trsr(monkeypatch, capfd):
    """The program in this process, with short pauses before it tries again."""
    monkeypatch.setattr(http, "_FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return Program(monkeypatch, capfd)


@pytest.fixture
def writer():
    with writing() as running:
        yield running
