"""Token ids from prompt pieces, through the model's own chat template.

Template text and chat markers are tokenised with control tokens; data text is tokenised with every control token
split into plain characters, so it can never open a role or end a turn. Pieces are tokenised one by one, and
the ids are joined: a prompt and any prompt that shares its first pieces share their first ids.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from trsr.errors import ModelError
from trsr.llm.protocol import Piece, Prompt

# templates that print today's date call this; a fixed one keeps a prompt the same tomorrow
_FIXED_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"
_CHARACTERS_A_TOKEN = 48  # of a text that is to be shortened no more are read
_AHEAD = 16_384  # texts whose ids wait to be asked for
_SYSTEM, _USER = "\ue0a0system\ue0a0", "\ue0a0user\ue0a0"


@dataclass(frozen=True)
class Answers:
    """The two answer tokens as this tokenizer writes them at the answer position."""

    yes_id: int
    no_id: int
    yes_piece: str
    no_piece: str


class ChatFormat:
    """How one tokenizer wraps a system and a user message, as ids around the ids of pieces.

    Attributes hold the wrapping text: `before` opens the prompt, `between` parts system and user message, `after`
    ends the user message and opens the answer. A tokenizer without a chat template gets a plain layout.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.has_template = bool(getattr(tokenizer, "chat_template", None))
        self._control = _control_tokens(tokenizer)
        self.before, self.between, self.after = self._layout()
        self._ahead: dict[str, tuple[int, ...]] = {}
        self.encode_piece = lru_cache(maxsize=65536)(self._encode_piece)
        self._spoken = self._spoken_roles()
        self.opening = self._bos() + self.encode_piece(Piece(self.before, True))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the tokenizer and the text around messages: what decides how long a text is."""
        inner = getattr(self.tokenizer, "backend_tokenizer", None)
        state = json.loads(inner.to_str()) if inner is not None else self.tokenizer.get_vocab()
        for of_a_call in ("padding", "truncation") if inner is not None else ():
            del state[of_a_call]
        return hashlib.sha256(
            json.dumps([state, self.before, self.between, self.after], sort_keys=True).encode()
        ).hexdigest()

    def encode(self, pieces: Iterable[Piece]) -> tuple[int, ...]:
        """Ids of pieces, each tokenised on its own."""
        return tuple(token for piece in pieces for token in self.encode_piece(piece))

    def encode_prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """Ids of a whole prompt up to and including the start of the answer."""
        answer = (Piece(self.after, True), Piece(prompt.start, True))
        return self.opening + self.encode((*prompt.system, Piece(self.between, True), *prompt.user, *answer))

    def shorten(self, text: str, budget: int) -> tuple[str, bool]:
        """`text` in at most `budget` tokens, cut at a word where there is one, and whether it was cut."""
        head = text[: budget * _CHARACTERS_A_TOKEN]
        if len(head) == len(text) and len(self.encode_piece(Piece(text, False))) <= budget:
            return text, False
        offsets = self._encode_data(head)["offset_mapping"]
        for keep in range(max(budget - 2, 1), 0, -1):
            shortened = _cut(head, offsets, keep)
            if len(self.encode_piece(Piece(shortened, False))) <= budget:
                return shortened, True
        return "…", True

    def shorten_all(self, texts: Sequence[str], budget: int) -> list[tuple[str, bool]]:
        """What `shorten` gives for each text, from a few calls of the tokenizer; their ids are kept for later."""
        heads = [text[: budget * _CHARACTERS_A_TOKEN] for text in texts]
        encoded = self._encode_all(heads)
        results = [("…", True)] * len(texts)
        keeps = {}
        for place, (text, head, (ids, _)) in enumerate(zip(texts, heads, encoded, strict=True)):
            if len(head) == len(text) and len(ids) <= budget:
                results[place] = text, False
                self._keep_ahead(text, ids)
            else:
                keeps[place] = max(budget - 2, 1)
        while keeps:
            cuts = [_cut(heads[place], encoded[place][1], keep) for place, keep in keeps.items()]
            for place, cut, (ids, _) in zip(list(keeps), cuts, self._encode_all(cuts), strict=True):
                keeps[place] -= 1
                if len(ids) <= budget:
                    results[place] = cut, True
                    self._keep_ahead(cut, ids)
                if len(ids) <= budget or not keeps[place]:
                    del keeps[place]
        return results

    def count_all(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each data text, from one call of the tokenizer for all."""
        return [
            len(ids if self._control.isdisjoint(ids) else self._encode_data(text)["input_ids"])
            for text, ids in zip(texts, self._ids_all(texts), strict=True)
        ]

    def answers(self, yes: str, no: str) -> Answers:
        """The first tokens of the two answer words in the answer's place.

        Raises `ModelError` when a word has no token of its own there or both begin with the same token.
        """
        yes_id, no_id = (self._answer_id(word) for word in (yes, no))
        pieces = self.tokenizer.convert_ids_to_tokens([yes_id, no_id])
        if yes_id == no_id:
            raise ModelError(
                f'the answers "{yes}" and "{no}" begin with the same token {pieces[0]!r} in this tokenizer; '
                "choose other answer words in the template's words.yaml"
            )
        return Answers(yes_id, no_id, *(str(piece) for piece in pieces))

    def _answer_id(self, word: str) -> int:
        word = word if self.has_template else f" {word}"
        cue = self.encode_piece(Piece(self.after, True))
        together = self.encode_piece(Piece(self.after + word, True))
        ids = together[len(cue) :] if together[: len(cue)] == cue else self.encode_piece(Piece(word, True))
        if not ids or ids[0] == self.tokenizer.unk_token_id:
            raise ModelError(f'the answer "{word.strip()}" is unknown to this tokenizer; choose another word')
        if len(ids) > 1:
            parts = self.tokenizer.convert_ids_to_tokens(list(ids))
            raise ModelError(
                f'the answer "{word.strip()}" is not one token here but {parts}; choose a shorter word in words.yaml'
            )
        return int(ids[0])

    def _encode_piece(self, piece: Piece) -> tuple[int, ...]:
        if not piece.trusted:
            ahead = self._ahead.pop(piece.text, None)
            return tuple(self._encode_data(piece.text)["input_ids"]) if ahead is None else ahead
        return tuple(self.tokenizer(piece.text, add_special_tokens=False)["input_ids"]) if piece.text else ()

    def _encode_data(self, text: str) -> Any:
        text = self._without_roles(text)
        while True:
            encoded = self._tokenize(text)
            opened = self._opened(text, encoded)
            if not opened:
                return encoded
            text = "".join(" " if place in opened else char for place, char in enumerate(text))

    def _ids_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each data text, control tokens and all, without places in the text, which take most of the time."""
        plain = [self._without_roles(text) for text in texts]
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if not plain or backend is None or backend.truncation or backend.padding:
            return self._tokenize(plain)["input_ids"] if plain else []
        before, backend.encode_special_tokens = backend.encode_special_tokens, True
        try:
            return [encoded.ids for encoded in backend.encode_batch_fast(plain, add_special_tokens=False)]
        finally:
            backend.encode_special_tokens = before

    def _encode_all(self, texts: Sequence[str]) -> list[tuple[list[int], Any]]:
        """Ids and offsets of each data text as `_encode_data` gives them, which gets those that say control tokens."""
        if not texts:
            return []
        encoded = self._tokenize([self._without_roles(text) for text in texts])
        result = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
        for place, (ids, _) in enumerate(result):
            if not self._control.isdisjoint(ids):
                alone = self._encode_data(texts[place])
                result[place] = alone["input_ids"], alone["offset_mapping"]
        return result

    def _tokenize(self, text: str | list[str]) -> Any:
        return self.tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )

    def _without_roles(self, text: str) -> str:
        while self._spoken is not None and self._spoken.search(text):
            text = self._spoken.sub(lambda found: f"{found.group()[:-1]} ", text)
        return text

    def _keep_ahead(self, text: str, ids: list[int]) -> None:
        self._ahead[text] = tuple(ids)
        if len(self._ahead) > _AHEAD:
            del self._ahead[next(iter(self._ahead))]

    def _opened(self, text: str, encoded: Any) -> set[int]:
        """The places of the first characters of the control tokens that `text` says.

        The bytes of characters unknown to the tokenizer are no names of bytes: they share one stretch of the text.
        """
        if self._control.isdisjoint(encoded["input_ids"]):
            return set()
        stretches = Counter(encoded["offset_mapping"])
        places = set()
        for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            said = text[start:end].strip()
            if token in self._control and len(said) > 1 and stretches[start, end] == 1:
                places.add(start + text[start:end].index(said))
        return places

    def _spoken_roles(self) -> re.Pattern[str] | None:
        """What parts the messages, where that is no more than words in a line, such as " ASSISTANT:" of Vicuna."""
        parts = {part.strip() for part in (self.before, self.between, self.after) if part.isprintable()} - {""}
        spoken = [part for part in parts if self._control.isdisjoint(self.encode_piece(Piece(part, True)))]
        return re.compile("|".join(rf"(?<!\w){re.escape(part)}" for part in sorted(spoken))) if spoken else None

    def _bos(self) -> tuple[int, ...]:
        """The ids that the tokenizer itself puts before a text, where the chat template does not write them."""
        if self.has_template:
            return ()
        with_bos = self.tokenizer("a")["input_ids"]
        bare = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        start = next((i for i in range(len(with_bos)) if with_bos[i : i + len(bare)] == bare), 0)
        return tuple(with_bos[:start])

    def _layout(self) -> tuple[str, str, str]:
        if not self.has_template:
            return "", "\n\n", "\n\nAnswer:"
        both = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
        text = self._render(both)
        if text is None or _SYSTEM not in text:
            text = self._render([{"role": "user", "content": f"{_SYSTEM}\n\n{_USER}"}])
        if text is None or text.count(_SYSTEM) != 1 or text.count(_USER) != 1:
            raise ModelError("the tokenizer's chat template does not show a user message whole; use another model")
        before, rest = text.split(_SYSTEM)
        between, after = rest.split(_USER)
        return before, between, after

    def _render(self, messages: list[dict[str, str]]) -> str | None:
        from jinja2 import TemplateError

        try:
            template = _FIXED_DATE + self.tokenizer.get_chat_template()
            return str(
                self.tokenizer.apply_chat_template(
                    messages, chat_template=template, tokenize=False, add_generation_prompt=True
                )
            )
        except TemplateError:  # templates refuse a system role this way
            return None


def _cut(head: str, offsets: Sequence[tuple[int, int]], keep: int) -> str:
    """A text up to its token number `keep`, back to a word where there is one."""
    cut = head[: offsets[min(keep, len(offsets)) - 1][1]]
    word = cut.rfind(" ")
    words = cut[:word] if word > len(cut) // 2 else cut  # a script without spaces keeps its text
    return words.rstrip(" ,;:-|") + "…"


def _control_tokens(tokenizer: Any) -> frozenset[int]:
    """The tokens that data must not say: those added to the vocabulary, and those that stand for a byte.

    Splitting special tokens is not enough. Added tokens that are not marked special are found in any text, in some
    tokenizers in other characters that are normalised to theirs, and a unigram model knows every token by its name.
    """
    numbers = {number for number, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
    numbers |= {tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in range(256)}
    return frozenset(numbers - {None, tokenizer.unk_token_id})
