"""Prompts: template sets, item rendering, token budgets and part-wise token ids."""
