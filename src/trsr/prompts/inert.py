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
_BRACKETS = re.compile(r"[<>|｜\[\]/]+")


class _Kept(dict[int, str | None]):
    """What becomes of a character: controls and line ends are spaces, invisible ones go, joiners of scripts stay."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        kind = unicodedata.category(char)
        becomes: str | None = char
        if kind in ("Cc", "Zl", "Zp"):
            becomes = " "
        elif kind in ("Cf", "Co", "Cs") and char not in "\u200c\u200d":
            becomes = None
        self[code] = becomes
        return becomes


_KEPT = _Kept()


def make_inert(text: str) -> str:
    """One line without control characters, with chat markers broken up so that they are mere words."""
    # of the characters that do not stay as they are, none is printable
    kept = " ".join((text if text.isprintable() else text.translate(_KEPT)).split())
    if not ("<" in kept or "[" in kept):  # with which every marker begins
        return kept
    if _MARKERS.search(kept):
        kept = " ".join(_MARKERS.sub(lambda found: _BRACKETS.sub(" ", found.group()), kept).split())
    if _MARKERS.search(kept):  # breaking an inner marker has joined an outer one, which no honest text has
        kept = " ".join(_BRACKETS.sub(" ", kept).split())
    return kept
