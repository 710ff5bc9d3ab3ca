"""Prompts over a small catalogue with a tiny tokenizer."""

from tiny import make_tokenizer
from trsr.config import PromptConfig, SummaryConfig
from trsr.llm.chat import ChatFormat
from trsr.prompts.items import ItemTexts
from trsr.prompts.ranking import RankingPrompts
from trsr.prompts.summarizing import SummarizingPrompts
from trsr.prompts.templates import TemplateSet

BOOKS = {f"b{n}": {"title": f"Book number {n}", "subject": "birds"} for n in range(12)}
LONG = {f"b{n}": {"title": "x" * 5000, "subject": "word " * 900} for n in range(8)}
CHAT = ChatFormat(make_tokenizer())


def make_items(rows=BOOKS, chat=CHAT, template="books", **more):
    return ItemTexts(rows, ["title", "subject"], TemplateSet(template), chat, **more)


def make_prompts(rows=BOOKS, chat=CHAT, template="books", **settings):
    config = PromptConfig(template=template, **settings)
    return RankingPrompts(TemplateSet(template), make_items(rows, chat, template), chat, config)


def decode(ids, chat=CHAT):
    return chat.tokenizer.decode(list(ids), skip_special_tokens=False)


def make_writer(rows=LONG, chat=CHAT, template="books", **changes):
    config = SummaryConfig(**({"max_prompt_tokens": 1600} | changes))
    return SummarizingPrompts(TemplateSet(template), make_items(rows, chat, template), chat, config)


def size(writer, prompt):
    return len(writer._chat.encode_prompt(prompt))
