"""A process of its own that scores many candidates of one user and writes how much memory that took."""

import json
import resource
import sys

import psutil
import torch
from slow_way import make_engine, make_prompt

from tiny import make_model

PREFIX, SUFFIX, PASS_TOKENS = 400, 20, 2048
WIDER = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 8}


def make_wider_model():
    return make_model("llama", **WIDER)


def main(candidates):
    torch.set_num_threads(1)
    engine = make_engine(make_wider_model(), "blocks", PASS_TOKENS)
    list(engine.score([make_prompt(PREFIX, [SUFFIX] * 200)]))  # allocators have what two passes take
    prompt = make_prompt(PREFIX, [SUFFIX] * candidates, seed=1)
    process = psutil.Process()
    before = peak = process.memory_info().rss
    engine.report.tokens = engine.report.passes = 0
    (scores,) = engine.score([prompt])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    spread = float(torch.from_numpy(scores).std())
    report = {"before": before, "peak": peak, "candidates": len(scores), "spread": spread}
    print(json.dumps({**report, "tokens": engine.report.tokens, "passes": engine.report.passes}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
