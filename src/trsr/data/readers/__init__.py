"""Readers of public formats, one module each; `trsr.data.importing.reader` says what a reader is."""
