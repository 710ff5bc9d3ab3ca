"""A small server that speaks the protocols of vLLM and SGLang over a tiny model, and misbehaves when told to."""

import json
import math
import select
import socket
import struct
import threading
from collections import deque
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

MODEL = "tiny-ranker"
# what a model folder may set for requests that are silent; a score that obeys it is wrong
DEFAULTS = {"temperature": 0.6, "repetition_penalty": 1.3}


def next_logits_of(model):
    """The model as a function of whole prompts; each is run once, however many servers stand on it."""

    @cache
    def next_logits(tokens):
        with torch.no_grad():
            return model(input_ids=torch.tensor([tokens])).logits[0, -1].float()

    return next_logits


class ProbabilityServer(ThreadingHTTPServer):
    """`faults` are names of things to do instead of answering, one for each request in turn, "" for an answer.

    `fault_of` chooses by the body of the request instead.

    `spoil` changes every reply before it is sent. `later` many requests wait until another one has been answered.
    `listed`, where set, is how many of the likeliest tokens a vLLM lists that knows no `logprob_token_ids`.
    """

    daemon_threads = True

    def __init__(self, next_logits, protocol):
        super().__init__(("127.0.0.1", 0), Handler)
        self.next_logits, self.protocol = next_logits, protocol
        self.card = {"id": MODEL, "owned_by": protocol, "max_model_len": 4096, "parent": None}
        self.faults, self.spoil, self.later, self.listed = deque(), lambda reply: reply, 0, None
        self.bodies, self.keys, self.finished = [], [], []
        self.fault_of = lambda body: self.faults.popleft() if self.faults else ""
        self.lock, self.answered = threading.Lock(), threading.Event()
        self.hanging, self.hung_up = threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that went away is part of the game; what else fails shows at the client."""

    def log_probabilities(self, tokens, settings):
        """(vocabulary,) of the next token, sampling settings applied."""
        with self.lock:
            logits = self.next_logits(tuple(tokens)).clone()
        seen = torch.tensor(sorted(set(tokens)))
        penalty = settings.get("repetition_penalty", DEFAULTS["repetition_penalty"])
        logits[seen] = torch.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
        return torch.log_softmax(logits / (settings.get("temperature", DEFAULTS["temperature"]) or 1.0), -1)

    def complete(self, body):
        """vLLM's `/v1/completions`: the sampled token and those asked for, or the likeliest where ids are unknown."""
        choices = []
        for index, prompt in enumerate(body["prompt"]):
            values = self.log_probabilities(prompt, body)
            likeliest = values.topk(self.listed or 1).indices.tolist()
            asked = likeliest if self.listed else body["logprob_token_ids"]
            ids = [int(values.argmax()), *asked]
            top = {f"token_id:{token}": max(float(values[token]), -9999.0) for token in ids}
            choices.append({"index": index, "text": "?", "logprobs": {"top_logprobs": [top]}})
        usage = {"prompt_tokens": sum(map(len, body["prompt"])), "completion_tokens": len(choices)}
        return {"model": body["model"], "choices": choices[::-1], "usage": usage}

    def generate(self, body):
        """SGLang's `/generate`; it takes no model name."""
        replies = []
        for prompt in body["input_ids"]:
            values = self.log_probabilities(prompt, body["sampling_params"])
            found = [[float(values[token]), token, None] for token in body["token_ids_logprob"]]
            meta = {"prompt_tokens": len(prompt), "output_token_ids_logprobs": [found]}
            replies.append({"text": "", "meta_info": meta})
        return replies


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: ProbabilityServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.keys.append(self.headers.get("Authorization"))
        self.reply(200, {"object": "list", "data": [self.server.card]})

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            place = len(server.bodies)
            server.bodies.append(body)
            fault = server.fault_of(body)
        if fault:
            getattr(self, fault)()
            return
        path = {"vllm": "/v1/completions", "sglang": "/generate"}[server.protocol]
        if self.path != path or body.get("model", MODEL) != MODEL:
            self.reply(404, {"error": {"message": f"The model `{body.get('model')}` does not exist.", "code": 404}})
            return
        if place < server.later:
            server.answered.wait(5)
        answer = server.complete if server.protocol == "vllm" else server.generate
        reply = server.spoil(answer(body))
        server.finished.append(place)
        self.reply(200, reply)
        server.answered.set()

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
        self.reply(429, {"error": {"message": "too many requests"}}, Retry_After="0")

    def failing(self):
        self.reply(500, {"message": "engine died"})

    def locked(self):
        self.reply(401, {"error": "Unauthorized: Bearer sesame"})

    def refusing(self):
        self.reply(400, {"error": {"message": "the prompt is longer\nthan the context"}})

    def refusing_when_another_hangs(self):
        self.server.hanging.wait(5)
        self.refusing()

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def cut_short(self):
        self.write(200, b'{"choices": [', length=1000)
        self.close_connection = True

    def garbled(self):
        self.write(200, b'{"choices": [')

    def hang(self):
        """No answer; sees the client go."""
        self.server.hanging.set()
        select.select([self.connection], [], [], 5)
        self.server.hung_up.set()
        self.close_connection = True


@contextmanager
def serving(next_logits, protocol):
    """A running server."""
    server = ProbabilityServer(next_logits, protocol)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def drop(token):
    """A spoiler: every reply lacks this token."""

    def spoil(reply):
        if isinstance(reply, dict):
            for choice in reply["choices"]:
                choice["logprobs"]["top_logprobs"][0].pop(f"token_id:{token}", None)
        else:
            for one in reply:
                one["meta_info"]["output_token_ids_logprobs"][0] = [
                    entry for entry in one["meta_info"]["output_token_ids_logprobs"][0] if entry[1] != token
                ]
        return reply

    return spoil


def put(token, value=math.nan):
    """A spoiler: every reply has this log-probability for the token."""

    def spoil(reply):
        if isinstance(reply, dict):
            for choice in reply["choices"]:
                choice["logprobs"]["top_logprobs"][0][f"token_id:{token}"] = value
        else:
            for one in reply:
                for entry in one["meta_info"]["output_token_ids_logprobs"][0]:
                    entry[0] = value if entry[1] == token else entry[0]
        return reply

    return spoil
