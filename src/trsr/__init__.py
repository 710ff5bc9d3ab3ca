"""trsr: text-rich sequential recommendation with preference summaries and a yes/no LLM ranker."""

from importlib.metadata import version

__version__ = version("trsr")
