"""What summaries and rankings of a dataset would cost, from the prompts of users drawn by the seed."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trsr.config import ExperimentConfig
from trsr.data.columns import ITEM
from trsr.data.events import MICROSECONDS
from trsr.data.histories import History
from trsr.data.seeds import generator
from trsr.data.survey.coded import CodedEvents
from trsr.data.survey.spread import Spread, spread_of
from trsr.data.survey.survey import Surveyed
from trsr.experiment.item_tokens import rows_by_id, sample
from trsr.llm.backend import NoBackend
from trsr.llm.chat import ChatFormat
from trsr.prompts.items import ItemTexts
from trsr.prompts.ranking import RankingPrompts
from trsr.prompts.templates import TemplateSet
from trsr.summaries.estimate import estimate_update
from trsr.summaries.store import SummaryStore
from trsr.summaries.summarizer import Summarizer

USERS, RANKED = 500, 200
"""At most so many users are walked through for summaries, and so many ranking prompts are built."""

METHODS = ("recurrent", "hierarchical")


@dataclass(frozen=True)
class Terms:
    """What a call costs: prices of a million tokens read and written, and calls a second as measured."""

    price_in: float | None = None
    price_out: float | None = None
    rate: float | None = None


@dataclass(frozen=True)
class SummaryCost:
    """What the first summaries of all users take by one method; `cost` and `seconds` where the terms tell."""

    method: str
    blocks: int
    calls: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    seconds: float | None


@dataclass(frozen=True)
class SummaryCosts:
    """Costs by method, with the tokenizer of `model`.

    They are exact where `sampled_users` are all `of_users`, else those of the sample times what events it stands for.
    """

    model: str
    sampled_users: int
    of_users: int
    methods: list[SummaryCost]


@dataclass(frozen=True)
class RankingCost:
    """Tokens of ranking prompts with a summary as long as may be, for the whole history of `sampled_users`.

    `prefix` is read once a user and `candidate` once a candidate; an example has `candidates`. `longest` is the most
    that one candidate's prompt has, `context` what the model can read, None where its configuration does not tell.
    """

    model: str
    sampled_users: int
    prefix: Spread
    candidate: Spread
    candidates: int
    tokens_per_example: float
    longest: int
    max_tokens: int
    context: int | None
    recent_items_dropped: int


def cost_summaries(
    surveyed: Surveyed, chat: ChatFormat, model: str, config: ExperimentConfig, terms: Terms
) -> SummaryCosts:
    """What `trsr summarize` would take on an empty store. Raises `ConfigError` for budgets that hold no block."""
    events = surveyed.events
    users = sample(len(events.users), USERS, generator(config.seed, "summary costs"))
    histories = [history_of(events, int(user)) for user in users]
    places = np.concatenate([events.item[_events_of(events, int(user))] for user in users])
    catalogue = rows_by_id(surveyed.histories.items, places.astype(np.int64))
    scale = events.item.size / places.size
    with tempfile.TemporaryDirectory() as empty, SummaryStore(str(Path(empty) / "empty.sqlite")) as store:
        summarizer = Summarizer(
            NoBackend(),
            chat,
            TemplateSet(config.summary_template),
            config.summaries,
            store,
            catalogue,
            surveyed.histories.attributes,
            config.data.max_history,
        )
        blocks = sum(len(summarizer.segment(history).blocks) for history in histories)
        methods = [_cost(summarizer, method, histories, blocks, scale, terms) for method in METHODS]
    return SummaryCosts(model, len(users), len(events.users), methods)


def cost_rankings(
    surveyed: Surveyed, chat: ChatFormat, model: str, context: int | None, config: ExperimentConfig
) -> RankingCost:
    """What one ranking takes. Raises `ModelError` where the tokenizer lacks the answers, `ConfigError` for budgets."""
    events, items = surveyed.events, surveyed.histories.items
    rng = generator(config.seed, "ranking costs")
    users = sample(len(events.users), RANKED, rng)
    histories = [history_of(events, int(user)) for user in users]
    size = min(config.candidates.negatives + 1, items.height)
    drawn = [rng.choice(items.height, size, replace=False) for _ in users]
    seen = np.concatenate([events.item[_events_of(events, int(user))] for user in users])
    rows = rows_by_id(items, np.concatenate([seen.astype(np.int64), *drawn]))
    templates = TemplateSet(config.prompt.template)
    texts = ItemTexts(rows, surveyed.histories.attributes, templates, chat, config.prompt.show_ids)
    prompts = RankingPrompts(templates, texts, chat, config.prompt)
    summary = " ".join(["and"] * config.prompt.summary_tokens)
    built = [
        prompts.build(summary, history.items, items[ITEM].gather(places).to_list())
        for history, places in zip(histories, drawn, strict=True)
    ]
    return RankingCost(
        model=model,
        sampled_users=len(users),
        prefix=spread_of(np.array([len(prompt.prefix) for prompt in built])),
        candidate=spread_of(np.array([len(suffix) for prompt in built for suffix in prompt.suffixes])),
        candidates=size,
        tokens_per_example=float(np.mean([prompt.tokens for prompt in built])),
        longest=prompts.counts.longest_prompt,
        max_tokens=config.prompt.max_tokens,
        context=context,
        recent_items_dropped=prompts.counts.recent_items_dropped,
    )


def history_of(events: CodedEvents, user: int) -> History:
    """The history of the user at a place; events of one moment are in the order of their items."""
    its = _events_of(events, user)
    times = (None,) * (its.stop - its.start) if events.moment is None else events.moment[its] // MICROSECONDS
    return History(
        str(events.users[user]),
        tuple(events.items.gather(events.item[its]).to_list()),
        tuple(None if time is None else int(time) for time in times),
    )


def _events_of(events: CodedEvents, user: int) -> slice:
    start = int(events.starts[user])
    return slice(start, start + int(events.history_lengths[user]))


def _cost(
    summarizer: Summarizer, method: str, histories: list[History], blocks: int, scale: float, terms: Terms
) -> SummaryCost:
    estimate = estimate_update(summarizer, method, histories)
    usage, priced = estimate.usage, (terms.price_in, terms.price_out) != (None, None)
    calls = round(usage.calls * scale)
    return SummaryCost(
        method=method,
        blocks=round(blocks * scale),
        calls=calls,
        tokens_in=round(usage.tokens_in * scale),
        tokens_out=round(usage.tokens_out * scale),
        cost=estimate.cost(terms.price_in or 0, terms.price_out or 0) * scale if priced else None,
        seconds=calls / terms.rate if terms.rate else None,
    )
