"""A program that several processes run together: it trains a tiny ranker and the first of them writes what came out.

    python -m torch.distributed.run --standalone --nproc_per_node 2 shared_training.py BASE OUT WAY NAME=SETTINGS...

WAY is ddp or fsdp. Accelerate offers FSDP on GPUs only; here it is told that these processes are such.
"""

import json
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def use_fsdp() -> None:
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def main(base: Path, out: Path, way: str, *runs: str) -> None:
    from tiny_rankers import SETTINGS, examples_for_training, make_ranker

    from trsr.ranking.processes import is_main
    from trsr.ranking.training import train

    if way == "fsdp":
        use_fsdp()
    for run in runs:
        name, _, changes = run.partition("=")
        settings = SETTINGS.model_copy(update=json.loads(changes))
        ranker, log = train(make_ranker(base), *examples_for_training(), settings, out / name)
        if is_main():
            ranker.save_pretrained(out / f"{name}.model")
            (out / f"{name}.json").write_text(json.dumps(log.as_dict()), encoding="utf-8")


if __name__ == "__main__":
    sys.path[:0] = [str(TESTS), str(TESTS / "ranking")]
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
