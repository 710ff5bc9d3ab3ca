"""Whether a method gives the right result: the speed of a wrong one means nothing."""

import numpy as np
import torch

from trsr.benchmarks.cases import Case
from trsr.benchmarks.timing import Value
from trsr.errors import ModelError

# Difference allowed, as a share of the size of the true log-odds and one. On SmolLM2 in bfloat16 rounding came to .024
# at most, and a mask that lets candidates see each other to .09 at least. Gradients round more.
ALLOWED = {torch.float32: 1e-3, torch.float16: 0.01, torch.bfloat16: 0.05}
GRADIENTS = 3


def compare(method: str, what: str, value: Value, expected: Value, dtype: torch.dtype, case: Case) -> None:
    """Raise `ModelError` where `value` is not `expected`, as near as `dtype` lets it be."""
    off = _size(value - expected)
    size = _size(expected)
    allowed = ALLOWED[dtype] * (GRADIENTS * size if what == "gradients" else 1 + size)
    if not off <= allowed:  # also where it is no number
        raise ModelError(
            f"{method} at {case}: its {what} are {off:.3g} off those of separate prompts, where "
            f"{str(dtype).removeprefix('torch.')} allows {allowed:.2g}; its speed would be that of a wrong result, "
            "so take another --attention or --dtype"
        )


def _size(values: Value) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))
