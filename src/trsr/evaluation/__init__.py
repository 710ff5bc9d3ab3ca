"""Evaluation: tie-safe ranking metrics, bootstrap intervals, checks and the report."""
