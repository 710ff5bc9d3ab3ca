"""Benchmarks: each way of doing a task, on the same inputs, in one process, compared with the least it could take."""
