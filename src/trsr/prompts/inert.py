"""Making data text inert: it stays one line, and nothing in it reads as a control token of a chat format.

Tokenising data with split control tokens (see `trsr.llm.chat`) protects local models. This protects the rest:
servers that tokenise by themselves, formats whose markers are plain text, and section headers at a line start.
"""

import re
import unicodedata

_MARKERS = re.compile(
    r"<[|｜][^<>|｜]{0,60}[|｜]>|<\|endoftext|<\|\w{1,30}>|<\w{1,30}\|>|"
    r"\[/?(?:INST|[A-Z]+(?:_[A-Z]+)+)\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|"
    r"</?(?:think|tool_call|tool_response)>",
    re.IGNORECASE,
)


def make_inert(text: str) -> str:
    """One line without control characters, with chat markers broken up so that they are mere words."""
    kept = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text)
    kept = "".join(
        char for char in kept if unicodedata.category(char) not in ("Cf", "Co", "Cs") or char in "\u200c\u200d"
    )
    while _MARKERS.search(kept):  # breaking an inner marker may join an outer one
        kept = _MARKERS.sub(lambda found: re.sub(r"[<>|｜\[\]/]+", " ", found.group()), kept)
    return " ".join(kept.split())
