"""Calls a second through `ServerGenerator`, beside bare clients, at a server that takes 50 ms for every answer.

    python experiments/http_throughput.py [--calls 4000] [--slots 64] [--rounds 3]

The server is a process of its own and answers from memory, so what is measured is our side. No client can do more than
slots / 0.05 s. "summarize" is all of `trsr summarize` on the bookshop's readers: prompts, tokens, store and checks of
texts beside the requests. The bare client posts the same bodies with httpx2 and parses the replies, without protocol,
budget or retries; the socket client writes the bytes of HTTP itself. Every round runs all of them, in turn.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

import httpx2

from trsr.config import BookshopConfig, SummaryConfig
from trsr.data.bookshop import make_bookshop
from trsr.data.dataset import Dataset
from trsr.data.histories import History
from trsr.llm.chat import ChatFormat
from trsr.llm.openai_server import ServerGenerator
from trsr.llm.protocol import Call, Decoding, Piece, Prompt
from trsr.llm.weights import load_tokenizer, resolve_weights
from trsr.prompts.templates import TemplateSet
from trsr.summaries.profiles import update_profiles
from trsr.summaries.store import SummaryStore
from trsr.summaries.summarizer import Summarizer

SECONDS = 0.05
DECODING = Decoding(max_new_tokens=64, repetition_penalty=1.1)
ITEMS = "".join(f"- title: A book about the sea, volume {number} | subject: boats\n" for number in range(20))


class Server(asyncio.Protocol):
    """One connection: a reply 50 ms after every request, a list of models at once."""

    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(self.received) < end + 4 + length:
                return
            self.received = self.received[end + 4 + length :]
            wait, reply = (0, MODELS) if head.startswith(b"get") else (SECONDS, ANSWER)
            asyncio.get_running_loop().call_later(wait, self.transport.write, reply)


def http(value):
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


MODELS = http({"object": "list", "data": [{"id": "m", "owned_by": "vllm"}]})
ANSWER = http(
    {
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": " tales of harbours, lamps and patient people who mend old boats by the sea.",
                },
            }
        ],
        "usage": {"prompt_tokens": 400, "completion_tokens": 24},
    }
)


async def serve():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def make_call(number):
    user = (Piece("Notes so far: likes boats.\n\n", True), Piece(f"{ITEMS}{number}", False))
    return Call(str(number), Prompt((Piece("You keep short notes.", True),), user, "This reader likes"), DECODING)


def measure_backend(url, calls, slots):
    """As the runner does it: whatever is free is filled as soon as answers are handed over."""
    generator = ServerGenerator(url, "m", concurrency=slots)
    generator.submit([make_call(-1 - number) for number in range(generator.slots)])  # connections are opened
    while generator.collect():
        pass
    made, sent, start, cpu = 0, generator.slots, time.perf_counter(), time.process_time()
    generator.submit([make_call(number) for number in range(sent)])
    while made < calls:
        free = len(generator.collect())
        made += free
        more = min(free, calls - sent)
        generator.submit([make_call(number) for number in range(sent, sent + more)])
        sent += more
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    generator.close()
    return calls / seconds, cpu / calls


def measure_summaries(url, calls, slots):
    """Profiles of readers who take about so many calls, from the first prompt to the last profile stored."""
    shop = make_bookshop(BookshopConfig(readers=calls * 4 // 11))  # 9 to 16 events, 2.75 blocks of 5 in the mean
    settings = SummaryConfig(item_tokens=32, max_prompt_tokens=640, max_new_tokens=48, grounded=False)
    dataset = Dataset.from_frames(shop.items, shop.interactions)
    histories = [History(user, tuple(items), (None,) * len(items)) for user, items in dataset.histories().items()]
    catalogue = {row["item_id"]: row for row in dataset.items.iter_rows(named=True)}
    chat = ChatFormat(load_tokenizer(resolve_weights(settings.model)))
    with TemporaryDirectory() as work, SummaryStore(f"{work}/calls.sqlite") as store:
        generator = ServerGenerator(url, "m", concurrency=slots)
        templates = TemplateSet("books")
        summarizer = Summarizer(generator, chat, templates, settings, store, catalogue, ("title", "subjects"))
        start, cpu = time.perf_counter(), time.process_time()
        update_profiles(summarizer, "recurrent", histories)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        generator.close()
    made = summarizer.counts.made.calls
    return made / seconds, cpu / made


def bodies(calls):
    for number in range(calls):
        messages = [
            {"role": "system", "content": "x"},
            {"role": "user", "content": f"Notes so far.\n\n{ITEMS}{number}"},
        ]
        yield {"model": "m", "messages": messages, "temperature": 0.0, "max_tokens": 64}


async def measure_bare(url, calls, slots):
    limits = httpx2.Limits(max_connections=slots, max_keepalive_connections=slots)
    async with httpx2.AsyncClient(limits=limits, timeout=60) as client:

        async def work(waiting):
            for body in waiting:
                (await client.post(f"{url}/v1/chat/completions", json=body)).json()

        await at_once(work, slots, slots)
        return await at_once(work, calls, slots)


async def measure_sockets(url, calls, slots):
    port = int(url.rpartition(":")[2])
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(slots)]

    async def work(waiting):
        reader, writer = connections.pop()
        for body in waiting:
            data = json.dumps(body).encode()
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))
            head = await reader.readuntil(b"\r\n\r\n")
            json.loads(await reader.readexactly(int(head.rpartition(b":")[2])))
        writer.close()

    return await at_once(work, calls, slots)


async def at_once(work, calls, slots):
    waiting, start, cpu = bodies(calls), time.perf_counter(), time.process_time()
    await asyncio.gather(*[work(waiting) for _ in range(slots)])
    return calls / (time.perf_counter() - start), (time.process_time() - cpu) / calls


def measure_http(calls=4000, slots=64, rounds=3):
    """Calls a second and CPU seconds a call of every client, one pair a round."""
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
    found = {"summarize": [], "backend": [], "bare httpx2": [], "sockets": []}
    try:
        measures = {
            "summarize": measure_summaries,
            "backend": measure_backend,
            "bare httpx2": lambda *asked: asyncio.run(measure_bare(*asked)),
            "sockets": lambda *asked: asyncio.run(measure_sockets(*asked)),
        }
        for number in range(rounds):
            for name in list(measures)[:: -1 if number % 2 else 1]:  # what comes first has no advantage
                found[name].append(measures[name](url, calls, slots))
    finally:
        server.terminate()
        server.wait()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    os.environ["NO_PROXY"] = "127.0.0.1"
    print(f"{options.slots} in flight, {SECONDS:g} s an answer: at most {options.slots / SECONDS:,.0f} calls/s")
    found = measure_http(options.calls, options.slots, options.rounds)
    for name, values in found.items():
        speed, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        rounds = ", ".join(f"{value:,.0f}" for value, _ in values)
        print(f"{name:12} {speed:7,.0f} calls/s  {1e6 * cpu:5,.0f} us CPU a call  (rounds: {rounds})")


if __name__ == "__main__":
    main()
