"""Every backend behind the protocol, on something tiny, with a way to make it fail."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from chat_server import MODEL, chatting
from fake_vllm import make_fake_vllm

from tiny import make_model, make_tokenizer, save_folder
from trsr.llm.chat import ChatFormat
from trsr.llm.local import LocalGenerator
from trsr.llm.openai_server import ServerGenerator
from trsr.llm.protocol import Generator
from trsr.llm.vllm_engine import VllmGenerator
from trsr.llm.weights import Weights

WORDS = ("yes", "no", " yes", " no", " boats", " birds")  # single tokens, so that 50 kB is a few thousand of them


@dataclass(frozen=True)
class Backend:
    """A generator of four slots; `fail` makes it refuse whatever it has not answered yet."""

    generator: Generator
    fail: Callable[[], Any]


@pytest.fixture(scope="session")
def chat():
    return ChatFormat(make_tokenizer(words=WORDS))


@pytest.fixture(scope="session")
def model(chat):
    return make_model(vocabulary=len(chat.tokenizer))


@pytest.fixture(params=["local", "server that continues", "server that is told", "vllm in process"])
def backend(request, chat, model, tmp_path, monkeypatch):
    if request.param == "local":
        generator = LocalGenerator(model, chat, "tiny@1", batch_size=4)

        def refuse(*_, **__):
            raise RuntimeError("out of memory")

        yield Backend(generator, lambda: monkeypatch.setattr(model, "forward", refuse))
        generator.close()
    elif request.param == "vllm in process":
        monkeypatch.setitem(sys.modules, "vllm", make_fake_vllm(model))
        folder = save_folder(tmp_path / "model", model, chat.tokenizer)
        generator = VllmGenerator(Weights("tiny", folder, "local folder", None), chat, slots=4)
        yield Backend(generator, lambda: setattr(generator._engine, "context", 1))
        generator.close()
    else:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with chatting("vllm" if request.param == "server that continues" else "library") as server:
            generator = ServerGenerator(server.url, MODEL, concurrency=2, timeout=20)
            yield Backend(generator, lambda: setattr(server, "fault_of", lambda body: "refusing"))
            generator.close()
