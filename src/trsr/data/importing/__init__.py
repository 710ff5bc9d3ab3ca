"""Data of any format into a dataset folder."""

from trsr.data.importing.importer import import_dataset
from trsr.data.importing.reader import Layout, Reader, Table
from trsr.data.importing.report import ImportReport

__all__ = ["ImportReport", "Layout", "Reader", "Table", "import_dataset"]
