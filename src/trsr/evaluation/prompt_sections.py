"""What tokens and prompts add to the page on a dataset."""

from collections.abc import Mapping
from typing import Any

from trsr.data.survey.finding import percent
from trsr.evaluation.sections import Section, Table, spread_table

Content = Mapping[str, Any]


def token_budgets(tokens: Content | None) -> list[Table]:
    """How much of items and events goes beyond the budgets, if tokens were counted."""
    if tokens is None:
        return []
    rows = [
        [f"{one['setting']} {one['tokens']}", percent(one["items"]), percent(one["events"])]
        for one in tokens["budgets"]
    ]
    return [Table(["shortened by", "items", "events"], rows)]


def cost_section(content: Content) -> Section:
    """Calls, tokens, cost and time of summaries, and the length of ranking prompts."""
    tokens = content["tokens"]
    if tokens["summaries"] is None:
        return Section("Prompts", f"Not estimated: {content['no_tokens']}.")
    summaries, ranking = tokens["summaries"], tokens["ranking"]
    sampled, users = summaries["sampled_users"], summaries["of_users"]
    source = "of all users" if sampled == users else f"estimated from {sampled:,} of {users:,} users drawn by the seed"
    note = f"First summaries {source}, every answer as long as it may be; tokens by {summaries['model']}."
    facts, tables = list[tuple[str, str]](), [_summaries(summaries)]
    if ranking is None:
        facts.append(("ranking prompts", tokens["refused"]))
    else:
        tables.append(spread_table({"prefix tokens": ranking["prefix"], "candidate tokens": ranking["candidate"]}))
        context = f"{ranking['context']:,}" if ranking["context"] else "unknown"
        facts += [
            (
                "longest ranking prompt",
                f"{ranking['longest']:,} tokens of prompt.max_tokens {ranking['max_tokens']:,}, context {context}",
            ),
            (
                "tokens an example",
                f"{ranking['tokens_per_example']:,.0f} with {ranking['candidates']} candidates, its prefix read once",
            ),
            ("recent items left out for room", f"{ranking['recent_items_dropped']:,}"),
        ]
    return Section("Prompts", note, facts, tables)


def _summaries(summaries: Content) -> Table:
    header = ["method", "blocks", "calls", "tokens read", "tokens written"]
    rows = [
        [one["method"], *(f"{one[name]:,}" for name in ("blocks", "calls", "tokens_in", "tokens_out"))]
        for one in summaries["methods"]
    ]
    for name, told in (("cost", _money), ("seconds", duration)):
        if any(one[name] is not None for one in summaries["methods"]):
            header.append({"cost": "cost", "seconds": "time"}[name])
            for row, one in zip(rows, summaries["methods"], strict=True):
                row.append(told(one[name]))
    return Table(header, rows)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, the larger two of them that count."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours >= 48:
        return f"{hours // 24:,} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def _money(cost: float) -> str:
    return f"{cost:,.4g}" if cost < 1000 else f"{cost:,.0f}"
