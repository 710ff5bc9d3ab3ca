"""A small OpenAI-compatible chat server whose answers depend on the messages alone, and which misbehaves when told."""

import json
import select
import socket
import struct
import threading
import time
from collections import deque
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "tiny-writer"
TOLD = "Begin your answer with these words and go on from there: "
WORDS = ["sea", "birds", "boats", "lamps", "ink", "winter", "coast", "harbour", "night", "garden", "letters", "storms"]


def words_for(messages) -> list[str]:
    """Between five and twelve words; equal messages give equal words."""
    digest = sha256(json.dumps(messages).encode()).digest()
    return [WORDS[byte % len(WORDS)] for byte in digest[: 5 + digest[-1] % 8]]


class ChatServer(ThreadingHTTPServer):
    """`faults` are names of things to do instead of answering, one for each request in turn, "" for an answer.

    `fault_of` chooses by the body of the request instead. `spoil` changes every reply before it is sent. `owner` is
    what the server says it is; the kinds that can do it continue an assistant's message. `gate`, where set, holds
    every request until `full_at` of them are there. `busiest` is the largest number of requests
    that were under way at once.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner):
        super().__init__(("127.0.0.1", 0), Handler)
        self.owner, self.models = owner, [MODEL]
        self.faults, self.spoil = deque(), lambda reply: reply
        self.bodies, self.keys, self.times = [], [], []
        self.indiscreet = 400  # the status of replies that repeat the key
        self.fault_of = lambda body: self.faults.popleft() if self.faults else ""
        self.lock, self.hanging, self.hung_up = threading.Lock(), threading.Event(), threading.Event()
        self.gate: threading.Event | None = None
        self.under_way = self.busiest = self.full_at = 0
        self.retry_after = "0"
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that went away is part of the game; what else fails shows at the client."""

    def complete(self, body):
        """The reply of `/v1/chat/completions`; a word is a token."""
        messages, limit = body["messages"], body.get("max_tokens") or body["max_completion_tokens"]
        words = words_for(messages)
        written = words[:limit]
        text = " ".join(written)
        if body.get("continue_final_message"):
            assert not body["add_generation_prompt"]
            assert messages[-1]["role"] == "assistant"
            text = f" {text}"
        elif TOLD in messages[-1]["content"]:
            text = f"{messages[-1]['content'].rpartition(TOLD)[2]} {text}"
        read = 4 + sum(len(message["content"].split()) for message in messages)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "length" if len(words) > limit else "stop",
        }
        usage = {"prompt_tokens": read, "completion_tokens": len(written), "total_tokens": read + len(written)}
        return {"object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: ChatServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        cards = [{"id": model, "object": "model", "owned_by": self.server.owner} for model in self.server.models]
        self.reply(200, {"object": "list", "data": cards})

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.bodies.append(body)
            server.keys.append(self.headers.get("Authorization"))
            server.times.append(time.monotonic())
            server.under_way += 1
            server.busiest = max(server.busiest, server.under_way)
            if server.gate is not None and server.under_way == server.full_at:
                server.gate.set()
            fault = server.fault_of(body)
        if server.gate is not None:
            server.gate.wait(10)
        with server.lock:  # before the answer, behind which the next request comes
            server.under_way -= 1
        if fault:
            getattr(self, fault)()
        elif self.path != "/v1/chat/completions" or body["model"] not in server.models:
            self.reply(404, {"error": {"message": f"The model `{body['model']}` does not exist.", "code": 404}})
        else:
            self.reply(200, server.spoil(server.complete(body)))

    def reply(self, status, value, **headers):
        self.write(status, json.dumps(value).encode(), **headers)

    def write(self, status, data, length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def busy(self):
        self.reply(429, {"error": {"message": "too many requests"}}, Retry_After=self.server.retry_after)

    def failing(self):
        self.reply(500, {"message": "engine died"})

    def locked(self):
        self.reply(401, {"error": "Unauthorized: Bearer sesame"})

    def echoing_headers(self):
        said = f"what is this: {self.headers['Authorization']}, it said"
        self.reply(self.server.indiscreet, {"error": {"message": said}})

    def refusing(self):
        self.reply(400, {"error": {"message": "the prompt is longer\nthan the context"}})

    def unknown_model(self):
        self.reply(404, {"error": {"message": "model 'tiny-writer' not found"}})

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def cut_short(self):
        self.write(200, b'{"choices": [', length=1000)
        self.close_connection = True

    def garbled(self):
        self.write(200, b'{"choices": [')

    def page(self):
        self.write(200, b"<html>Bad gateway</html>")

    def hang(self):
        """No answer; sees the client go."""
        self.server.hanging.set()
        select.select([self.connection], [], [], 5)
        self.server.hung_up.set()
        self.close_connection = True

    def drip(self):
        """An answer that never ends, a byte now and then."""
        self.write(200, b"{", length=100_000)
        while not select.select([self.connection], [], [], 0.02)[0]:
            self.wfile.write(b" ")
        self.server.hung_up.set()
        self.close_connection = True


@contextmanager
def chatting(owner="vllm"):
    """A running server."""
    server = ChatServer(owner)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
