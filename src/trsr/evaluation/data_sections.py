"""The sections of the page on a dataset, from what `trsr data check --json` prints."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from trsr.data.survey.finding import percent
from trsr.evaluation.distributions import bar_plot, share_plot
from trsr.evaluation.prompt_sections import cost_section, token_budgets
from trsr.evaluation.sections import Figure, Section, Table, spread_figure, spread_table
from trsr.evaluation.table import UNKNOWN

Content = Mapping[str, Any]


def data_sections(content: Content) -> list[Section]:
    """All sections, in the order in which a person asks."""
    return [
        _histories(content),
        _texts(content),
        _duplicates(content),
        _times(content),
        _popularity(content),
        _leaks(content),
        cost_section(content),
    ]


def _histories(content: Content) -> Section:
    activity, tasks = content["activity"], content["tasks"]
    per_user, per_item = activity["per_user"], activity["per_item"]
    splits = [("by time", tasks["by_time"]), ("last events", tasks["by_last"]), ("by users, about", tasks["by_users"])]
    return Section(
        "Histories",
        f"Ordered by {content['ordered_by']}. The longest history is that of user {activity['longest_user']}.",
        facts=[
            ("users, items, events", f"{content['users']:,}, {content['items']:,}, {content['events']:,}"),
            ("users with one event", f"{content['single_event_users']:,}"),
            (f"users with more than {tasks['min_history']} events", f"{tasks['users_with_enough']:,}"),
            ("events of an item that the user had before", f"{activity['repeated_pairs']:,}"),
            ("events of an unknown item", f"{content['unknown_items']:,}"),
            ("items without an event", f"{activity['items_without_events']:,}"),
        ],
        tables=[
            spread_table({"events a user": per_user, "events an item": per_item}),
            Table(
                ["users with an example", "train", "valid", "test"],
                [
                    [name, *(f"{counts[part]:,}" if counts else UNKNOWN for part in ("train", "valid", "test"))]
                    for name, counts in splits
                ],
            ),
        ],
        figures=[
            spread_figure("users by number of events", per_user),
            spread_figure("items by number of events", per_item),
        ],
    )


def _texts(content: Content) -> Section:
    texts, tokens = content["texts"], content["tokens"]["items"]
    spreads = {"words an item": texts["words"], "words, by events": texts["words_of_events"]}
    figures = [spread_figure("items by number of words", texts["words"])]
    note = f"Words only: {content['no_tokens']}."
    if tokens:
        spreads |= {"tokens an item": tokens["items"], "tokens, by events": tokens["events"]}
        figures.append(spread_figure("items by number of tokens", tokens["items"]))
        note = (
            f"Tokens by {tokens['model']}, of {tokens['sampled_items']:,} of {tokens['of_items']:,} items and the "
            f"items of {tokens['sampled_events']:,} of {tokens['of_events']:,} events. By events, a popular item "
            "counts as often as it was chosen."
        )
    long = [
        (f"long field, {one['attribute']} of item {one['item_id']}", f"{one['characters']:,} characters")
        for one in texts["longest"]
    ]
    return Section(
        "Texts",
        note,
        facts=[("items without text", f"{content['empty_items']:,}"), *long],
        tables=[spread_table(spreads), *token_budgets(tokens), _attributes(texts["attributes"], content["items"])],
        figures=figures,
    )


def _attributes(attributes: list[Content], items: int) -> Table:
    rows = [
        [
            one["name"],
            percent(one["missing"] / items),
            f"{one['mean']:,.0f}",
            f"{one['longest']:,}",
            f"{one['distinct']:,}",
            f"{one['markup'] + one['printed_lists']:,}",
        ]
        for one in attributes
    ]
    return Table(["attribute", "missing", "mean characters", "longest", "distinct", "with markup"], rows)


def _duplicates(content: Content) -> Section:
    found = content["duplicates"]
    whole = found["compared"] == found["distinct"]
    kinds = {"same title": "same_title_examples", "same text": "same_text_examples", "near": "near_text_examples"}
    rows = [
        [kind, _titled(pair, 0), _titled(pair, 1), _alike(pair["similarity"])]
        for kind, name in kinds.items()
        for pair in found[name]
    ]
    return Section(
        "Duplicates",
        "Case, punctuation and spaces do not count. Near duplicates share 80 % or more of what their beginnings say in "
        "three words in a row, as MinHash estimates it"
        + ("." if whole else f", looked for among {found['compared']:,} of {found['distinct']:,} distinct texts."),
        facts=[
            ("items that share their title", f"{found['same_title']:,}"),
            ("items that share their whole text", f"{found['same_text']:,}"),
            ("texts that nearly repeat another", f"{found['near_texts']:,}"),
        ],
        tables=[Table(["kind", "one", "other", "shared, about"], rows, numeric=False)] if rows else [],
    )


def _titled(pair: Content, place: int) -> str:
    return f"{pair['titles'][place][:120]} ({pair['item_ids'][place]})"


def _alike(similarity: float | None) -> str:
    return UNKNOWN if similarity is None else f"{similarity:.0%}".replace("%", " %")


def _times(content: Content) -> Section:
    times = content["times"]
    if times is None:
        return Section("Time", "There is no real time for every event, so nothing can be told of it.")
    days = [datetime.fromtimestamp(times[name], UTC).strftime("%Y-%m-%d") for name in ("first", "last")]
    span = (times["last"] - times["first"]) / len(times["events_over_time"])
    labels = [
        datetime.fromtimestamp(times["first"] + place * span, UTC).strftime("%Y-%m" if span > 20 * 86_400 else "%m-%d")
        for place in range(len(times["events_over_time"]))
    ]
    events = list(zip(labels, times["events_over_time"], strict=True))
    return Section(
        "Time",
        f"From {days[0]} to {days[1]}.",
        facts=[
            ("neighbouring events that share their second", _share(times["same_second"])),
            ("users with a whole history within a day", _share(times["within_a_day"])),
            ("users with all events at one moment", _share(times["at_once"])),
        ],
        figures=[Figure("events over time", bar_plot("events over time", events))],
    )


def _popularity(content: Content) -> Section:
    found = content["popularity"]
    top, title = found["top_10_percent"], "share of events by share of items"
    return Section(
        "Popularity",
        "The curve is what share of all events the most popular items have; were all equally popular it would follow "
        "the faint line.",
        facts=[
            ("Gini coefficient", f"{found['gini']:.2f}"),
            ("events of the top 1 % of items", percent(found["top_1_percent"])),
            ("events of the top 10 % of items", percent(top)),
            ("items with fewer than 5 events", percent(found["items_with_few_events"] / content["items"])),
            ("latest tenth of events whose item is new", _share(found["cold_share"])),
        ],
        figures=[Figure(title, share_plot(title, found["curve"], [(0.1, top, f"top 10 %: {percent(top)} of events")]))],
    )


def _leaks(content: Content) -> Section:
    titles, order, texts = content["titles"], content["order"], content["texts"]
    own = f" (such as {', '.join(texts['holding_own_id_examples'])})" if texts["holding_own_id"] else ""
    return Section(
        "Leaks",
        "Rank correlations run from -1 to 1; near 0 an order tells nothing.",
        facts=[
            ("items that name their own id", f"{texts['holding_own_id']:,}{own}"),
            ("titles in the text of another item", f"{titles['found']:,} of {titles['titles']:,}"),
            ("ids with popularity, with first event", _pair(order["id_popularity"], order["id_time"])),
            ("item rows with popularity, with first event", _pair(order["row_popularity"], order["row_time"])),
            (
                "tied events in the order of item ids",
                f"{_share(order['tied_ascending'])} of {order['tied_pairs']:,} neighbours",
            ),
        ],
        tables=[Table(["title", "in the text of"], [list(pair) for pair in titles["examples"]], numeric=False)]
        if titles["examples"]
        else [],
    )


def _pair(one: float | None, other: float | None) -> str:
    return ", ".join(UNKNOWN if value is None else f"{value:+.2f}" for value in (one, other))


def _share(share: float | None) -> str:
    return UNKNOWN if share is None else percent(share)
