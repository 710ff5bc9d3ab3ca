import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a worker, or workers wait for each other's threads
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("no shared/data folder beside the checkout")
    return folder
