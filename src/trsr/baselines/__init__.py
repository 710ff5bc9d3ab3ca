"""Baselines: what one would use instead of an LLM, behind the same interface as the ranker."""
