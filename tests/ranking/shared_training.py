"""A program that several processes run together: it trains tiny rankers and the first of them writes what came out.

    python -m torch.distributed.run --standalone --nproc_per_node 2 shared_training.py BASE OUT WAY NAME=SETTINGS...

WAY is ddp or fsdp. Accelerate offers FSDP on GPUs only; here it is told that these processes have one each.
"""

import json
import os
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def use_fsdp() -> None:
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    os.environ |= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
    }
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def train_shared(base: Path, out: Path, way: str, runs: dict[str, dict]) -> None:
    from tiny_rankers import SETTINGS, examples_for_training, make_ranker

    from trsr.ranking.processes import is_main
    from trsr.ranking.training import train

    if way == "fsdp":
        use_fsdp()
    for name, changes in runs.items():
        settings = SETTINGS.model_copy(update=changes)
        ranker, log = train(make_ranker(base), *examples_for_training(), settings, out / "checkpoints" / name)
        if is_main():
            ranker.save_pretrained(out / name)
            (out / f"{name}.json").write_text(json.dumps(log.as_dict()), encoding="utf-8")


if __name__ == "__main__":
    sys.path[:0] = [str(TESTS), str(TESTS / "ranking")]
    train_shared(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))

    from trsr.ranking.processes import part

    part()  # as a run does: a process that just leaves may take the others' connections with it
