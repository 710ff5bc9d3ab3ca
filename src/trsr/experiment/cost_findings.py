"""What tokens and costs mean."""

from trsr.data.survey.finding import Finding, graded, percent
from trsr.experiment.item_tokens import ItemTokens
from trsr.experiment.prompt_costs import RankingCost, SummaryCosts

LONG_RUN = 24 * 3600  # seconds


def cost_findings(
    items: ItemTokens, summaries: SummaryCosts, ranking: RankingCost | None, refused: str | None
) -> list[Finding]:
    """Budgets, calls and context."""
    return [_shortened(items), _calls(summaries), _context(ranking, refused)]


def _shortened(items: ItemTokens) -> Finding:
    budgets = {budget.setting: budget for budget in items.budgets}
    recent, candidate = budgets["prompt.item_tokens"], budgets["prompt.candidate_tokens"]
    return graded(
        "shortened items",
        f"median {items.items.quantiles['median']:,} tokens an item; {percent(recent.items)} of items have more "
        f"than prompt.item_tokens {recent.tokens}, {percent(candidate.items)} more than prompt.candidate_tokens "
        f"{candidate.tokens}",
        "Raise these budgets, or order data.attributes so that what tells items apart comes first.",
        look=max(recent.items, candidate.items) > 0.2,
    )


def _calls(summaries: SummaryCosts) -> Finding:
    told = "; ".join(f"{one.method} {one.calls:,} calls, {one.tokens_in:,} tokens read" for one in summaries.methods)
    slow = any((one.seconds or 0) > LONG_RUN for one in summaries.methods)
    return graded(
        "calls",
        told,
        "Raise summaries.block_size, set data.max_history, summarise fewer users, or use a faster server.",
        look=slow,
        fine="Measure calls a second with trsr bench summarize and give them as --rate to see the time.",
    )


def _context(ranking: RankingCost | None, refused: str | None) -> Finding:
    if ranking is None:
        return graded("ranking prompt", refused or "", "Choose another model or other answers.", look=False, stop=True)
    context, room = ranking.context, min(ranking.max_tokens, ranking.context or ranking.max_tokens)
    return graded(
        "ranking prompt",
        f"longest prompt {ranking.longest:,} tokens of {room:,} (prompt.max_tokens {ranking.max_tokens:,}, context "
        f"{f'{context:,}' if context else 'unknown'}); {ranking.tokens_per_example:,.0f} tokens an example of "
        f"{ranking.candidates} candidates",
        "Lower prompt.recent_items or prompt.item_tokens, or take a model of longer context.",
        look=ranking.recent_items_dropped > 0 or ranking.longest > 0.9 * room,
        stop=context is not None and ranking.longest > context,
    )
