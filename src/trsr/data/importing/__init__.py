"""Data of any format into a dataset folder."""

from trsr.data.importing.importer import ImportReport, import_dataset
from trsr.data.importing.reader import Layout, Reader, Table

__all__ = ["ImportReport", "Layout", "Reader", "Table", "import_dataset"]
