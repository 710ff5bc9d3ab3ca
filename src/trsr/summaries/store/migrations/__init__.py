"""Numbered changes of a store's tables, run by Alembic when a store is opened; see `trsr.summaries.store.layout`."""
