"""Data: items and interactions, their order, splits, candidate sets and the synthetic bookshop."""
