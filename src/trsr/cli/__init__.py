"""Commands of the trsr program; thin over the Python API."""
