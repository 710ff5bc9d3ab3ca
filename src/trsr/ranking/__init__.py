"""Ranking: the shared-prefix forward pass, the ranker, its losses and its training."""
