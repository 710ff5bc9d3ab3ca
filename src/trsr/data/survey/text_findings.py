"""What the texts of a survey mean."""

from trsr.data.survey.finding import Finding, graded, percent
from trsr.data.survey.survey import Survey
from trsr.data.survey.texts import LONG, AttributeTexts

RARE = 0.5


def text_findings(survey: Survey) -> list[Finding]:
    """Missing, long, dirty and doubled texts."""
    return [
        _without_text(survey),
        _gaps(survey),
        _words(survey),
        _long_fields(survey),
        _dirt(survey),
        _no_prose(survey),
        _same(survey),
        _near(survey),
    ]


def _without_text(survey: Survey) -> Finding:
    empty, items = survey.cleaning.empty_items, survey.cleaning.items
    return graded(
        "items without text",
        f"{empty:,} of {items:,} items ({percent(empty / items)}) say nothing",
        "Fill their title at least, for a ranker that reads knows nothing else of them.",
        look=empty > 0,
        stop=empty > items / 2,
    )


def _gaps(survey: Survey) -> Finding:
    rare = [one for one in survey.texts.attributes if one.missing > RARE * survey.cleaning.items]
    named = ", ".join(f"{one.name} ({percent(one.missing / survey.cleaning.items)})" for one in rare)
    return graded(
        "gaps",
        f"missing for most items: {named}" if rare else "every attribute is there for most items",
        "Fill these attributes, or list the others under data.attributes to leave them out.",
        look=bool(rare),
    )


def _words(survey: Survey) -> Finding:
    words = survey.texts.words
    return graded(
        "words",
        f"median {words.quantiles['median']:,} words an item, mean {words.mean:.1f} "
        f"({survey.texts.words_of_events.mean:.1f} weighted by events)",
        "Add descriptive attributes, for there is little to read in so few words.",
        look=words.quantiles["median"] < 5,
    )


def _long_fields(survey: Survey) -> Finding:
    long = [one for one in survey.texts.attributes if one.very_long]
    named = ", ".join(f"{one.very_long:,} of {one.name} (up to {one.longest:,})" for one in long)
    return graded(
        "long fields",
        f"fields of {LONG:,} characters or more: {named}" if long else f"no field has {LONG:,} characters",
        "Put what matters first or shorten these fields yourself, for only their beginning fits into a prompt.",
        look=bool(long),
    )


def _dirt(survey: Survey) -> Finding:
    dirty = [one for one in survey.texts.attributes if one.markup or one.printed_lists]
    named = ", ".join(f"{one.name} ({one.markup + one.printed_lists:,})" for one in dirty)
    return graded(
        "markup",
        f"HTML or printed Python lists in {named}" if dirty else "no HTML and no printed lists in texts",
        "Strip tags and entities and parse lists before you write items.parquet, for the LLM is paid to read them.",
        look=bool(dirty),
    )


def _no_prose(survey: Survey) -> Finding:
    items = survey.cleaning.items
    found = [one.name for one in survey.texts.attributes if _is_id(one, items) or _is_flag(one, items)]
    return graded(
        "ids and flags",
        f"no text but ids or flags: {', '.join(found)}" if found else "no attribute is an id or a flag",
        "List the other attributes under data.attributes, for these cost tokens and say nothing.",
        look=bool(found),
    )


def _is_id(one: AttributeTexts, items: int) -> bool:
    given = items - one.missing
    return one.numbers > 0.9 * given and one.distinct > 0.9 * given and given > 1


def _is_flag(one: AttributeTexts, items: int) -> bool:
    return 0 < one.distinct <= 2 < items - one.missing


def _same(survey: Survey) -> Finding:
    found = survey.duplicates
    return graded(
        "duplicates",
        f"{found.same_title:,} items share their title with another one, {found.same_text:,} their whole text",
        "Merge what is one item under two ids, for a ranker cannot tell a target from a negative that reads the same.",
        look=found.same_title > 0,
        stop=found.same_text > 0.2 * survey.cleaning.items,
    )


def _near(survey: Survey) -> Finding:
    found = survey.duplicates
    among = "distinct texts" if found.compared == found.distinct else f"of {found.distinct:,} distinct texts looked at"
    return graded(
        "near duplicates",
        f"{found.near_texts:,} of {found.compared:,} {among} nearly repeat another one",
        "Merge variants of one item, or add the attribute that tells them apart near the beginning of the text.",
        look=found.near_texts > 0.01 * found.compared,
    )
