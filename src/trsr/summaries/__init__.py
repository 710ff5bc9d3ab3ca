"""Summaries: segments, recurrent and hierarchical plans, the runner that batches calls, the store."""
