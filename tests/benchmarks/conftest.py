import pytest

from cli.program import Program
from tiny import make_model, make_tokenizer, save_folder


@pytest.fixture
def trsr(monkeypatch, capfd):
    return Program(monkeypatch, capfd)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A folder with a tiny model whose tokenizer has two words that texts give back: " yes" and " no"."""
    tokenizer = make_tokenizer()
    folder = tmp_path_factory.mktemp("benchmarks") / "model"
    return save_folder(folder, make_model("smollm2", vocabulary=len(tokenizer)), tokenizer)
