"""A user and a candidate as two plain texts, for programs that tokenise a whole prompt as one string.

The ids of a ranking prompt are made piece by piece. In one string the pieces grow together: "book: " before "Sea"
becomes "book", ":", " Sea". So a border stands between them, a character that no data text can hold (it is not
inert), and the tokenizer made here cuts a text at borders and drops them before it reads anything else.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trsr.errors import ModelError
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Piece
from trsr.prompts.ranking import RankingPrompts
from trsr.prompts.templates import TemplateSet

if TYPE_CHECKING:
    from trsr.ranking.ranker import Ranker

BORDER = "\u2063"  # INVISIBLE SEPARATOR
_SHORT = "give pairs of texts, user and candidate, and no prompt"


@dataclass(frozen=True)
class PairTexts:
    """One user for a cross-encoder: the text before the candidate, and a text for each candidate."""

    user: str
    candidates: tuple[str, ...]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """What `CrossEncoder.predict` takes."""
        return [(self.user, candidate) for candidate in self.candidates]


def pair_texts(
    ranker: "Ranker", history: Sequence[Mapping[str, Any]], candidates: Sequence[Mapping[str, Any]], summary: str = ""
) -> PairTexts:
    """The texts of plain items, with the arguments of `Ranker.rank`; one candidate text for each, in order.

    Raises `ConfigError` when there is no candidate, an item has none of the ranker's attributes, or the ranker shows
    ids.
    """
    prompts, had, offered = ranker.plain_prompts(history, candidates, "pair_texts")
    return prompt_texts(prompts, summary, had, offered)


def prompt_texts(prompts: RankingPrompts, summary: str, history: Sequence[str], candidates: Sequence[str]) -> PairTexts:
    """The texts of items of a catalogue, with the arguments of `RankingPrompts.build`; all budgets hold."""
    prompt = prompts.build(summary, history, candidates)
    pieces: tuple[Piece, ...] = ()
    if prompt.summary:
        pieces += prompts.templates.pieces("rank_summary", {"summary": prompt.summary})
    if prompt.recent:
        pieces += prompts.templates.pieces("rank_recent", {"recent": list(prompt.recent)})
    user = BORDER.join(piece.text if piece.trusted else _without_controls(piece.text, prompts.chat) for piece in pieces)
    budget = prompts.config.candidate_tokens
    texts = (prompts.items.text(item, budget) for item in candidates)
    return PairTexts(user, tuple(_without_controls(text, prompts.chat) for text in texts))


def pair_messages(user: str, candidate: str) -> list[dict[str, str]]:
    """The two messages that sentence-transformers makes of a pair."""
    return [{"role": "query", "content": user}, {"role": "document", "content": candidate}]


def pair_tokenizer(chat: ChatFormat, templates: TemplateSet, max_tokens: int) -> Any:
    """The tokenizer of `chat`, cutting at borders, with a chat template that writes the whole prompt around a pair.

    Raises `ModelError` when it has no fast implementation or no token to pad with.
    """
    from tokenizers import Tokenizer, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    base = chat.tokenizer
    padding = base.eos_token or base.pad_token or base.bos_token  # a pad token may have no row in the embedding
    if getattr(base, "backend_tokenizer", None) is None or padding is None:
        what = "fast implementation" if padding is not None else "token to pad with"
        raise ModelError(f"crossencoder: the ranker's tokenizer has no {what}; export it as merged")
    core = Tokenizer.from_str(base.backend_tokenizer.to_str())
    core.no_truncation()
    core.no_padding()
    cut = pre_tokenizers.Split(BORDER, "removed")
    core.pre_tokenizer = pre_tokenizers.Sequence([cut, core.pre_tokenizer]) if core.pre_tokenizer else cut
    return PreTrainedTokenizerFast(
        **(base.special_tokens_map | {"pad_token": padding}),
        tokenizer_object=core,
        chat_template=_chat_template(chat, templates),
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=max_tokens,
        padding_side="left",
        truncation_side="left",
    )


def pair_ids(tokenizer: Any, user: str, candidate: str) -> tuple[int, ...]:
    """The ids of the whole prompt as a cross-encoder makes them from a pair."""
    messages = pair_messages(user, candidate)
    return tuple(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"])


def _chat_template(chat: ChatFormat, templates: TemplateSet) -> str:
    own = len(chat.opening) - len(chat.encode_piece(Piece(chat.before, True)))
    begin = "".join(chat.tokenizer.convert_ids_to_tokens(list(chat.opening[:own])))
    candidate = Piece("messages[1]['content']", False)
    pieces = [
        *(Piece(begin, True), Piece(chat.before, True), *templates.pieces("rank_system"), Piece(chat.between, True)),
        Piece("messages[0]['content']", False),
        *(piece if piece.trusted else candidate for piece in templates.pieces("rank_candidate", {"candidate": "-"})),
        *(*templates.pieces("rank_question"), Piece(chat.after, True)),
    ]
    # a JSON string is a string of Jinja too, unless it escapes characters beyond 16 bits
    parts = (json.dumps(piece.text, ensure_ascii=False) if piece.trusted else piece.text for piece in pieces)
    whole = f" ~ {json.dumps(BORDER)} ~ ".join(part for part in parts if part != '""')
    wrong = "messages | map(attribute='role') | list != ['query', 'document']"
    return f"{{%- if {wrong} -%}}{{{{- raise_exception('{_SHORT}') -}}}}{{%- endif -%}}{{{{- {whole} -}}}}"


def _without_controls(text: str, chat: ChatFormat) -> str:
    """Data text with a border inside everything that the tokenizer would take for a control token."""
    if chat.encode_piece(Piece(text, False)) == chat.encode_piece(Piece(text, True)):
        return text
    added = (token.content for token in chat.tokenizer.added_tokens_decoder.values())
    controls = sorted((content for content in added if len(content.strip()) > 1), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, controls)))
    while found := pattern.search(text):
        text = text[: found.start() + 1] + BORDER + text[found.start() + 1 :]
    return text
