"""Ten thousand candidates of one user are scored in the memory of one thousand, ids and scores aside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PASS_TOKENS = 1024
# measured: 27 to 32 MiB for 1,000 and 26 to 29 MiB for 10,000 candidates; 1,300 MiB for 10,000 in one pass
MOST_BYTES, ONE_PASS_BYTES = 64 << 20, 512 << 20


def grown_by(candidates, pass_tokens=PASS_TOKENS):
    """Bytes by which the largest memory of a process grew while it scored, and what it reported."""
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, str(HERE / "scoring_memory.py"), str(candidates), str(pass_tokens)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    report = json.loads(result.stdout)
    assert report["candidates"] == candidates
    assert report["spread"] > 1
    assert report["tokens"] == 200 + 8 * candidates  # the prefix once
    return report["peak"] - report["before"], report["passes"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read in the way of Linux")
def test_memory_does_not_grow_with_the_number_of_candidates():
    some, _ = grown_by(1_000)
    many, passes = grown_by(10_000)
    assert passes == 79
    assert many < MOST_BYTES
    assert many - some < MOST_BYTES // 2  # activations of 9,000 more candidates would take a gigabyte


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read in the way of Linux")
def test_memory_without_passes_would_be_noticed():
    grown, passes = grown_by(10_000, pass_tokens=1_000_000)
    assert passes == 1
    assert grown > ONE_PASS_BYTES
