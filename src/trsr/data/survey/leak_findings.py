"""What ids, rows and texts of a survey give away."""

from trsr.data.survey.finding import Finding, graded, percent
from trsr.data.survey.survey import Survey

STRONG = 0.3
"""Rank correlation from which on an order tells something."""


def leak_findings(survey: Survey) -> list[Finding]:
    """Ids in texts, titles in other texts, and orders that know popularity, time or ids."""
    return [_own_ids(survey), _titles(survey), _id_order(survey), _row_order(survey), _tied_rows(survey)]


def _own_ids(survey: Survey) -> Finding:
    found, items = survey.texts.holding_own_id, survey.cleaning.items
    return graded(
        "ids in texts",
        f"{found:,} items ({percent(found / items)}) name their own id in their text",
        "Take ids out of the texts, for a model can learn an id by heart in place of reading.",
        look=found > 0.001 * items,
        stop=found > 0.5 * items,
    )


def _titles(survey: Survey) -> Finding:
    titles = survey.titles
    share = titles.found / titles.titles if titles.titles else 0.0
    return graded(
        "titles in other texts",
        f"{titles.found:,} of {titles.titles:,} titles ({percent(share)}) stand in one of {titles.texts:,} texts of "
        "other items",
        "Read the run's check for targets in their own prompt with care, for part of what it finds is this.",
        look=share > 0.05,
    )


def _id_order(survey: Survey) -> Finding:
    order = survey.order
    return graded(
        "order of ids",
        f"rank correlation of ids with popularity {_told(order.id_popularity)}, with first event "
        f"{_told(order.id_time)}",
        "Keep prompt.show_ids off, and break ties of scores by nothing that knows the id.",
        look=_strong(order.id_popularity) or _strong(order.id_time),
    )


def _row_order(survey: Survey) -> Finding:
    order = survey.order
    return graded(
        "order of item rows",
        f"rank correlation of rows with popularity {_told(order.row_popularity)}, with first event "
        f"{_told(order.row_time)}",
        "Let no tool of yours break ties by row, for rows tell what is popular or new; trsr does not.",
        look=_strong(order.row_popularity) or _strong(order.row_time),
    )


def _tied_rows(survey: Survey) -> Finding:
    order = survey.order
    if order.tied_ascending is None:
        return graded("order of tied rows", f"{order.tied_pairs:,} neighbouring rows are tied", "", look=False)
    by_chance = max(0.1, 3 * 0.5 / order.tied_pairs**0.5)  # three standard deviations of a fair coin
    return graded(
        "order of tied rows",
        f"in {percent(order.tied_ascending)} of {order.tied_pairs:,} tied neighbours the later row has the higher item "
        "id (50 % by chance)",
        "Do not make a position out of the order of rows, for it would tell which of two tied items comes next.",
        look=abs(order.tied_ascending - 0.5) > by_chance,
    )


def _told(correlation: float | None) -> str:
    return "unknown" if correlation is None else f"{correlation:+.2f}"


def _strong(correlation: float | None) -> bool:
    return correlation is not None and abs(correlation) >= STRONG
