"""Breaking chat markers in data, for servers that apply their chat template and their tokenizer by themselves.

A server finds control tokens in the text of a message wherever it comes from. Which ones is not known here, so no list
of them is kept: in data, whatever opens like a marker gets a space behind its first character, and a control token
with a space in it is none. The same goes for a marker of which a template has the bracket and data the rest. Roles that
are plain words are safe where they need a line of their own, as data has one line; the capitals before a colon that
Vicuna and its kin have within a line are broken too.
"""

import re
from collections.abc import Sequence

from trsr.llm.protocol import Piece

# the first character of "<|im_end|>", "</s>", "<<SYS>>", "<｜User｜>", "[INST]", "[|system|]", "[gMASK]", "[unused9]",
# "◁think▷", "]~b]", "[e~[" and the like, and of those in full-width brackets, which some tokenizers normalise
_OPENER = re.compile(
    r"[<＜](?=[^\s\d=-]|0x)|[\[［](?=/?[A-Z_|｜]|[gs]MASK|e~|unused\d)|[\]］](?=~)|◁(?=\S)"
    r"|\b(?:USER|ASSISTANT|SYSTEM|HUMAN|GPT)(?=[:：])"
)


def plain_text(pieces: Sequence[Piece]) -> str:
    """The text of pieces joined; in what data wrote, nothing is left that a server could take for a control token."""
    text = "".join(piece.text for piece in pieces)
    data = b"".join((b"\0" if piece.trusted else b"\1") * len(piece.text) for piece in pieces)

    def broken(found: re.Match[str]) -> str:
        place = found.start()
        return f"{found.group()} " if data[place] or data[place + 1] else found.group()

    # half a surrogate pair cannot be sent as JSON in UTF-8
    return _OPENER.sub(broken, text).encode("utf-8", "replace").decode("utf-8")
