"""The store of summaries: every LLM call and every profile, in one SQLite file or a PostgreSQL database."""

from trsr.summaries.store.forgetting import Forgotten
from trsr.summaries.store.keys import call_key
from trsr.summaries.store.profiles import ProfileRecord, ProfileVersion
from trsr.summaries.store.store import SummaryStore

__all__ = ["Forgotten", "ProfileRecord", "ProfileVersion", "SummaryStore", "call_key"]
