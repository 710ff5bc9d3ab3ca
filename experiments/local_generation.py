"""How fast local weights write summaries of bookshop readers, and where the time goes.

    python experiments/local_generation.py [--batches 1 8 32 64 128] [--calls 128] [--users 128] [--published 4]

The first table gives the same calls, first blocks of readers, to `generate` of transformers and to our decoding loop
in batches of every size, in turn. The second one summarises readers to the end: as published (one prompt at a time
through plain `generate`, every reader padded to five blocks, whose calls are made too), through the runner, and the
runner's calls once more, all known before, in batches of every size. Loading the model is not counted.
"""

import argparse
import os
import statistics
import time

import torch

from trsr.config import BookshopConfig, SummaryConfig
from trsr.data.bookshop import make_bookshop
from trsr.llm import local
from trsr.llm.chat import ChatFormat
from trsr.llm.local import LocalGenerator
from trsr.llm.protocol import Call, Decoding
from trsr.llm.weights import EMBEDDED, load_model, load_tokenizer, resolve_weights
from trsr.prompts.items import ItemTexts
from trsr.prompts.summarizing import SummarizingPrompts
from trsr.prompts.templates import TemplateSet
from trsr.summaries.extractive import Extractive
from trsr.summaries.quality import Quality, other_decoding
from trsr.summaries.recurrent import recurrent
from trsr.summaries.runner import Job, Judge, SummaryRunner
from trsr.summaries.segments import segment_by_count

ATTRIBUTES = ["title", "subjects"]
BLOCKS = 5  # of every reader, as published


class Bench:
    """The model, the readers' blocks, and what calls are made of."""

    def __init__(self, readers, grounded):
        self.config = SummaryConfig(item_tokens=32, max_prompt_tokens=640, max_new_tokens=48, grounded=grounded)
        shop = make_bookshop(BookshopConfig(books=300, readers=readers))
        self.templates, weights = TemplateSet("books"), resolve_weights(EMBEDDED)
        histories = shop.interactions.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].to_list()
        self.readers = [segment_by_count(history[:-1], self.config.block_size) for history in histories]
        self.items = {row["item_id"]: row for row in shop.items.iter_rows(named=True)}
        self.chat, self.model = ChatFormat(load_tokenizer(weights)), load_model(weights)
        texts = ItemTexts(self.items, ATTRIBUTES, self.templates, self.chat)
        self.prompts = SummarizingPrompts(self.templates, texts, self.chat, self.config)
        self.quality = Quality(self.templates, self.config, self.prompts.finish)
        self.decoding = Decoding(
            self.config.max_new_tokens,
            self.config.repetition_penalty,
            self.config.no_repeat_ngram,
            grounded=grounded,
        )

    def generator(self, batch, plain=False):
        made = LocalGenerator(self.model, self.chat, "measured", batch)
        made.can_decode &= not plain
        return made

    def write(self, generator, calls):
        """Seconds, tokens written and the share of faulty texts."""
        started = time.perf_counter()
        found = {}
        for some in segment_by_count(sorted(calls, key=self.length, reverse=True), generator.slots):
            generator.submit(some)
            found |= dict(generator.collect())
        seconds = time.perf_counter() - started
        faulty = [bool(self.quality.examine(call.prompt, found[call.key]).faults) for call in calls]
        return seconds, sum(made.tokens_out for made in found.values()), statistics.fmean(faulty)

    def length(self, call):
        return len(self.chat.encode_prompt(call.prompt))

    def publish(self, readers):
        """Seconds and calls for readers one after the other, with nothing but `generate`."""
        stop = [self.chat.tokenizer.eos_token_id]
        started = time.perf_counter()
        for blocks in readers:
            summary = ""
            for block in (*blocks, *[()] * (BLOCKS - len(blocks))):
                prompt = self.prompts.update(summary, block) if summary else self.prompts.block(block)
                ids = self.chat.encode_prompt(prompt)
                (written,) = local.generate(self.model, [ids], lambda _, __, scores: scores, 48, stop)
                summary = self.prompts.finish(self.chat.tokenizer.decode(written, skip_special_tokens=True))
        return time.perf_counter() - started, BLOCKS * len(readers)

    def run(self, batch):
        """Seconds of the runner over all readers, the batches of calls that it made, and the tokens written."""
        generator, batches = self.generator(batch), []
        submit = generator.submit
        generator.submit = lambda some: (batches.append(some), submit(some))
        stand_in = Extractive(self.items, ATTRIBUTES, self.templates, "text").summary
        judge = Judge(self.quality.examine, other_decoding(self.decoding, samples=False), stand_in)
        runner = SummaryRunner(generator, Kept(), self.decoding, judge)
        jobs = [Job(str(n), str(n), recurrent(blocks, self.prompts)) for n, blocks in enumerate(self.readers)]
        started = time.perf_counter()
        assert len(list(runner.run(jobs))) == len(jobs)
        return time.perf_counter() - started, batches, runner.counts.made.tokens_out


class Kept(dict):
    """A store in memory."""

    def get_many(self, keys):
        return {key: self[key] for key in keys if key in self}

    def put_many(self, generations, model, users=None):
        self.update(generations)

    def put_users(self, users):
        pass


def compare_batches(bench, batches, count, rounds):
    blocks = [blocks[0] for blocks in bench.readers[:count]]
    calls = [Call(str(n), bench.prompts.block(block), bench.decoding) for n, block in enumerate(blocks)]
    print("| batch | calls | calls/s | tokens/s | tokens/s of transformers | times | faulty | of transformers |")
    print("|---" * 8 + "|")
    for batch in batches:
        some = calls[: 4 * batch]
        best = {}
        for _ in range(rounds):
            for plain in (False, True):
                best[plain] = min(best.get(plain, (float("inf"),)), bench.write(bench.generator(batch, plain), some))
        (seconds, tokens, faulty), (slow_seconds, slow_tokens, slow_faulty) = best[False], best[True]
        speed, slow = tokens / seconds, slow_tokens / slow_seconds
        cells = f"{len(some) / seconds:.2f} | {speed:.0f} | {slow:.0f} | {speed / slow:.2f}"
        print(f"| {batch} | {len(some)} | {cells} | {faulty:.2f} | {slow_faulty:.2f} |", flush=True)


def compare_ways(bench, batch, batches, published):
    def row(way, users, seconds, calls, tokens=None):
        written = f"{tokens / seconds:.0f}" if tokens else ""
        print(
            f"| {way} | {users} | {calls} | {60 * users / seconds:.1f} | {calls / seconds:.2f} | {written} |",
            flush=True,
        )

    print("\n| way | users | calls | users/min | calls/s | tokens/s |", "|---" * 6 + "|", sep="\n")
    seconds, calls = bench.publish(bench.readers[:published])
    row("published", published, seconds, calls)
    seconds, made, tokens = bench.run(batch)
    calls = [call for some in made for call in some]
    row(
        f"runner, batches of {', '.join(str(len(some)) for some in made)}",
        len(bench.readers),
        seconds,
        len(calls),
        tokens,
    )
    for size in batches:
        total, written = 0, 0
        for decoding in {call.decoding for call in calls}:
            alike = [call for call in calls if call.decoding == decoding]
            spent, tokens, _ = bench.write(bench.generator(size), alike)
            total, written = total + spent, written + tokens
        row(f"calls known before, batches of {size}", len(bench.readers), total, len(calls), written)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8, 32, 64, 128])
    parser.add_argument("--calls", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--users", type=int, default=128, help="0 leaves the second table out")
    parser.add_argument("--batch", type=int, default=64, help="of the runner")
    parser.add_argument("--published", type=int, default=4, help="users in the published way")
    parser.add_argument("--grounded", action="store_true", help="words of the items and the template only")
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    bench = Bench(options.users or options.calls, options.grounded)
    compare_batches(bench, options.batches, options.calls, options.rounds)
    if options.users:
        compare_ways(bench, options.batch, [size for size in options.batches if size >= 16], options.published)


if __name__ == "__main__":
    main()
