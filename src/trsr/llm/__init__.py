"""LLMs: where text is generated and where weights come from."""
