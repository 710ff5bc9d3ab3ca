"""An import of MovieLens that kills itself: python killed_import.py MOMENT SOURCE DESTINATION [replace]."""

import os
import signal
import sys
from pathlib import Path

from trsr.config import FilterConfig, ImportConfig
from trsr.data.importing import import_dataset, importer
from trsr.data.importing.writing import ParquetWriter


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


FILTERED = ImportConfig(filters=FilterConfig(min_history=1))
"""Settings for which events are written twice."""

MOMENTS = {
    "first rows": (ParquetWriter, "write"),
    "items written": (importer._Import, "_finish_items"),
    "filters": (importer, "filter_events"),
    "report": (importer.ImportReport, "as_dict"),
    "last rename": (Path, "rename"),
}

if __name__ == "__main__":
    moment, source, destination, *more = sys.argv[1:]
    owner, name = MOMENTS[moment]
    setattr(owner, name, die)
    import_dataset("movielens", Path(source), Path(destination), FILTERED, replace=bool(more))
