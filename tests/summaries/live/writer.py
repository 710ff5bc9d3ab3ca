"""A chat server whose texts tell which request they answer, so that a test can say what was asked for twice."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from llm.chat_server import MODEL, WORDS, ChatServer, chatting

Body = dict[str, Any]


class Writer:
    """The texts that a chat server writes, and what it was asked for.

    A text begins with a code that no other request has. `refusing` is the share of first attempts that it refuses,
    and of second ones. `latency` seconds pass before an answer. `full`: a text has as many bytes as it may have, and
    `tokens` counts them and those of a prompt.
    """

    def __init__(self, server: ChatServer) -> None:
        self.server = server
        self.refusing, self.latency = 0.0, 0.0
        self.full = False
        self.tokens: Callable[[Body], int] | None = None
        self.after, self.reached, self.resume = 0, threading.Event(), threading.Event()
        self.resume.set()
        server.complete = self.complete  # type: ignore[method-assign]

    @property
    def backend(self) -> dict[str, Any]:
        """Settings that name the server."""
        return {"kind": "openai", "url": self.server.url, "model": MODEL, "concurrency": 4, "timeout": 60}

    def asked(self) -> list[str]:
        """The text that answers each request so far, in the order that they came in."""
        with self.server.lock:
            return [self.text(body) for body in self.server.bodies]

    def take_asked(self) -> list[str]:
        """`asked` since it was taken last."""
        asked = self.asked()
        self.server.bodies.clear()
        return asked

    def hold_after(self, requests: int) -> None:
        """Answer so many more requests; then `reached` is set, and others get no answer before `resume` is."""
        self.after = len(self.server.bodies) + requests
        self.reached.clear()
        self.resume.clear()

    def text(self, body: Body) -> str:
        """What is written for a request, the same whenever it comes."""
        sampled = body["temperature"] > 0
        digest = sha256(json.dumps([body["messages"], sampled]).encode()).digest()
        code = digest.hex()[:12]
        if digest[-1] < 256 * self.refusing:
            return f"I cannot say {code}"
        text = " ".join([code, *(WORDS[byte % len(WORDS)] for byte in digest[:3])])
        return f"{text:.<{body['max_tokens']}}" if self.full else text

    def complete(self, body: Body) -> Body:
        """The reply of `/v1/chat/completions`."""
        if self.after and len(self.server.bodies) >= self.after:
            self.reached.set()
            self.resume.wait(60)
        threading.Event().wait(self.latency)
        text = self.text(body)
        read = self.tokens(body) if self.tokens else sum(len(one["content"].split()) for one in body["messages"])
        written = len(text) if self.tokens else len(text.split())
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        message = {"role": "assistant", "content": f" {text}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}


def repeated(asked: list[str]) -> dict[str, int]:
    """Requests that came more than once, with how often."""
    return {text: times for text, times in Counter(asked).items() if times > 1}


@contextmanager
def writing() -> Iterator[Writer]:
    """A running server with a writer."""
    with chatting() as server:
        writer = Writer(server)
        try:
            yield writer
        finally:
            writer.resume.set()
