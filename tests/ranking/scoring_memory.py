"""A process of its own that scores many candidates of one user and writes how much memory that took."""

import json
import sys
from pathlib import Path

import torch
from slow_way import make_engine, make_prompt

from tiny import make_model

PREFIX, SUFFIX = 200, 8
WIDER = {"hidden_size": 128, "intermediate_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 4}


def bytes_of(name):
    """An entry of this process's memory status; the peak of `resource` would count the parent's memory too."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def make_wider_model():
    return make_model("llama", **WIDER)


def main(candidates, pass_tokens):
    torch.set_num_threads(1)
    engine = make_engine(make_wider_model(), "blocks", pass_tokens)
    list(engine.score([make_prompt(PREFIX, [SUFFIX] * 200)]))  # allocators have what two passes take
    prompt = make_prompt(PREFIX, [SUFFIX] * candidates, seed=1)
    before = bytes_of("VmRSS")
    engine.report.tokens = engine.report.passes = 0
    (scores,) = engine.score([prompt])
    peak = bytes_of("VmHWM")
    spread = float(torch.from_numpy(scores).std())
    report = {"before": before, "peak": peak, "candidates": len(scores), "spread": spread}
    sys.stdout.write(json.dumps({**report, "tokens": engine.report.tokens, "passes": engine.report.passes}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
