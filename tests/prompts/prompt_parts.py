"""Prompts over a small catalogue with a tiny tokenizer."""

from tiny import make_tokenizer
from trsr.config import PromptConfig
from trsr.llm.chat import ChatFormat
from trsr.prompts.items import ItemTexts
from trsr.prompts.ranking import RankingPrompts
from trsr.prompts.templates import TemplateSet

BOOKS = {f"b{n}": {"title": f"Book number {n}", "subject": "birds"} for n in range(12)}
CHAT = ChatFormat(make_tokenizer())


def make_items(rows=BOOKS, chat=CHAT, template="books", **more):
    return ItemTexts(rows, ["title", "subject"], TemplateSet(template), chat, **more)


def make_prompts(rows=BOOKS, chat=CHAT, template="books", **settings):
    config = PromptConfig(template=template, **settings)
    return RankingPrompts(TemplateSet(template), make_items(rows, chat, template), chat, config)


def decode(ids, chat=CHAT):
    return chat.tokenizer.decode(list(ids), skip_special_tokens=False)
