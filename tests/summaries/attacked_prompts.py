"""Prompts with hostile text in every place where data goes, for tokenizers of every kind."""

import json
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("llm", "prompts"))

from attacks import ATTACKS, LONG
from tokenizer_kinds import BYTES, KINDS, unigram, wrap
from tokenizers import AddedToken, Tokenizer, decoders, normalizers

from tiny import NO_SYSTEM_ROLE, make_tokenizer
from trsr.config import SummaryConfig
from trsr.llm.chat import ChatFormat
from trsr.prompts.items import ItemTexts
from trsr.prompts.summarizing import SummarizingPrompts
from trsr.prompts.templates import SHIPPED, TemplateSet

HARMLESS = "A quiet book"
TEXTS = {"harmless": HARMLESS, **ATTACKS, **LONG}
TEMPLATES = sorted(folder.name for folder in SHIPPED.iterdir())
FORMS = ("text", "structured")
LIMIT = 3000  # tokens of a prompt
LINE_ENDS = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
VICUNA = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% else %} USER: {{ message['content'] }}{% endif %}{% endfor %} ASSISTANT:"
)


def unigram_with_bytes():
    """Every token is known by its name, bytes too, full-width text is normalised, and an added token is not special."""
    core = json.loads(unigram().backend_tokenizer.to_str())
    core["model"]["byte_fallback"] = True
    core["model"]["vocab"] += [[name, 0.0] for name in [*BYTES, "</s>", "<AI>"]]
    core = Tokenizer.from_str(json.dumps(core))
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens(["</s>", "<AI>"])
    core.add_tokens([AddedToken("<think>", special=False, normalized=True)])
    return wrap(core)


MAKERS = {
    **KINDS,
    "unigram with bytes": unigram_with_bytes,
    "added, not special": lambda: make_tokenizer(
        extra_markers=("<think>", "</think>", "<tool_call>", "<｜User｜>", "[gMASK]", "◁think▷", "<｜Assistant｜>")
    ),
    "no template": lambda: make_tokenizer(template=None, bos=True),
    "no system role": lambda: make_tokenizer(NO_SYSTEM_ROLE),
    "roles in words": lambda: make_tokenizer(VICUNA),
}
PLAIN = "added, not special"


@cache
def chat_of(kind):
    return ChatFormat(MAKERS[kind]())


def row(**values):
    """An item in a catalogue with every attack for a column, where most are empty."""
    return defaultdict(lambda: None, {"title": "Book", **values})


ROWS = {
    f"{name}/{place}": row(**values)
    for name, text in TEXTS.items()
    for place, values in {
        "value": {"title": text},
        "list": {"subject": ["birds", text, None, text]},
        "column": {"column" if name == "harmless" else text: "birds"},
    }.items()
}
ATTRIBUTES = ["title", "subject", "column", *ATTACKS.values(), *LONG.values()]


def items_of(name):
    return [f"{name}/value", f"{name}/list", f"{name}/column"]


@cache
def item_texts(kind):
    return ItemTexts(ROWS, ATTRIBUTES, TemplateSet("books"), chat_of(kind))


@cache
def settings(form):
    return SummaryConfig(form=form, block_size=3, item_tokens=160, max_new_tokens=240, max_prompt_tokens=LIMIT)


@cache
def writer_of(kind, template, form):
    return SummarizingPrompts(TemplateSet(template), item_texts(kind), chat_of(kind), settings(form))


def prompts_of(writer, name):
    """Every prompt that summarises, with the text in all places where data goes."""
    items, summary = items_of(name), writer.finish(TEXTS[name])
    raw = TEXTS[name]  # as another program may have stored it
    return [writer.block(items), writer.update(summary, items), writer.update(raw, items), writer.merge([summary, raw])]


@cache
def harmless_prompts(kind, template, form):
    return prompts_of(writer_of(kind, template, form), "harmless")


def skeleton(prompt):
    """What a template wrote, and where data stands."""
    return prompt.system, tuple(piece if piece.trusted else None for piece in prompt.user), prompt.start


def data_of(prompt):
    return [piece.text for piece in (*prompt.system, *prompt.user) if not piece.trusted]


@cache
def control_of(kind):
    """The tokens that structure a prompt and what they say: markers, roles, and bytes of control characters."""
    chat = chat_of(kind)
    roles = {-1: "USER:", -2: "ASSISTANT:"} if kind == "roles in words" else {}
    names = {number: token.content for number, token in chat.tokenizer.added_tokens_decoder.items()} | roles
    for byte in (*range(32), 127):
        number = chat.tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>")
        names |= {} if number is None else {number: f"<0x{byte:02X}>"}
    names.pop(chat.tokenizer.unk_token_id, None)  # an unknown character, in any text
    return names
