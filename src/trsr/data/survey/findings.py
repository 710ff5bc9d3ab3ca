"""What a survey of the data means: every finding with its severity and what to do about it."""

from trsr.data.survey.finding import Finding, graded, percent
from trsr.data.survey.leak_findings import leak_findings
from trsr.data.survey.survey import Survey
from trsr.data.survey.text_findings import text_findings

FEW_USERS, FEW_ITEMS = 100, 100


def data_findings(survey: Survey) -> list[Finding]:
    """All that the data alone tells, without a tokenizer."""
    return [
        _sizes(survey),
        _histories(survey),
        _joins(survey),
        *text_findings(survey),
        _repeats(survey),
        _ties(survey),
        _sessions(survey),
        _popularity(survey),
        _cold(survey),
        _negatives(survey),
        _splits(survey),
        *leak_findings(survey),
    ]


def _sizes(survey: Survey) -> Finding:
    cleaning = survey.cleaning
    return graded(
        "size",
        f"{cleaning.users:,} users, {cleaning.items:,} items, {cleaning.events:,} events",
        "Get more users before you compare rankers, for intervals over so few are wide.",
        look=cleaning.users < FEW_USERS or cleaning.items < FEW_ITEMS,
    )


def _histories(survey: Survey) -> Finding:
    tasks, users = survey.tasks, survey.cleaning.users
    per_user = survey.activity.per_user.quantiles
    return graded(
        "history length",
        f"median {per_user['median']:,} events a user, most {per_user['max']:,}; {tasks.users_with_enough:,} of "
        f"{users:,} users have more than min_history {tasks.min_history}",
        "Lower data.min_history, or collect longer histories: only users with more events become examples.",
        look=tasks.users_with_enough < users / 2,
        stop=not tasks.users_with_enough,
    )


def _joins(survey: Survey) -> Finding:
    unknown, silent = survey.cleaning.unknown_items, survey.activity.items_without_events
    rows = survey.cleaning.events + survey.cleaning.exact_repeats + survey.cleaning.low_ratings + unknown
    return graded(
        "join",
        f"{unknown:,} events ({percent(unknown / rows)}) name an unknown item, {silent:,} items "
        f"({percent(silent / survey.cleaning.items)}) have no event",
        "Add the unknown items to items.parquet, and leave out items that can no longer be recommended.",
        look=unknown > 0 or silent > survey.cleaning.items / 2,
    )


def _repeats(survey: Survey) -> Finding:
    repeats, events = survey.activity.repeated_pairs, survey.cleaning.events
    return graded(
        "repeats",
        f"{repeats:,} events ({percent(repeats / events)}) are of an item that the user had before",
        "Decide whether a repeat is a preference; if not, keep the first event of each user and item.",
        look=repeats > 0.01 * events,
    )


def _ties(survey: Survey) -> Finding:
    same = survey.times.same_second if survey.times else None
    if same is None:
        return graded("ties in time", "no neighbouring events with a time", "", look=False)
    return graded(
        "ties in time",
        f"{percent(same)} of neighbouring events share their second",
        "Give finer times or a position if you have them; what is tied is ordered by the seed and tells no sequence.",
        look=same > 0.05,
    )


def _sessions(survey: Survey) -> Finding:
    times = survey.times
    if times is None or times.within_a_day is None or times.at_once is None:
        return graded("histories in one go", "no times to look at", "", look=False)
    return graded(
        "histories in one go",
        f"{percent(times.within_a_day)} of users entered their whole history within a day, "
        f"{percent(times.at_once)} at one moment",
        "Read order as the order of entry, not of taste, and leave users out whose events are a bulk import.",
        look=times.within_a_day > 0.2 or times.at_once > 0.01,
        stop=times.at_once > 0.5,
    )


def _popularity(survey: Survey) -> Finding:
    popularity = survey.popularity
    few = popularity.items_with_few_events / survey.cleaning.items
    return graded(
        "popularity",
        f"the top 1 % of items have {percent(popularity.top_1_percent)} of events, the top 10 % "
        f"{percent(popularity.top_10_percent)} (Gini {popularity.gini:.2f}); {percent(few)} of items have fewer than 5",
        "Report popularity beside every ranker, for against uniform negatives it alone will look strong.",
        look=popularity.top_10_percent > 0.5,
    )


def _cold(survey: Survey) -> Finding:
    cold = survey.popularity.cold_share
    if cold is None:
        return graded("cold items", "without time, nobody can tell which items were new", "", look=False)
    return graded(
        "cold items",
        f"{percent(cold)} of the latest tenth of events are of items without an event before",
        "Judge rankers on these targets apart: methods that know ids alone cannot rank them, text can.",
        look=cold > 0.2,
    )


def _negatives(survey: Survey) -> Finding:
    tasks = survey.tasks
    return graded(
        "negatives",
        f"{tasks.negatives} negatives beside a target; the longest history has {tasks.most_distinct_items:,} of "
        f"{survey.cleaning.items:,} items, {tasks.users_without_negatives:,} users leave too few",
        "Lower candidates.negatives and candidates.train_negatives, or bring the whole catalogue.",
        look=False,
        stop=tasks.users_without_negatives > 0,
    )


def _splits(survey: Survey) -> Finding:
    tasks = survey.tasks
    counts = {"time": tasks.by_time, "last": tasks.by_last, "users": tasks.by_users}[tasks.by]
    if counts is None:
        advice = "Set split.by to last or users, or add a timestamp to every event."
        return graded("split", "a split by time is asked for, and events lack times", advice, look=False, stop=True)
    advice = {
        "time": "Raise split.valid and split.test, lower data.min_history, or set split.by to last or users.",
        "last": "Lower data.min_history or get longer histories, or set split.by to users.",
        "users": "Raise split.valid and split.test, lower data.min_history, or get more users.",
    }[tasks.by]
    timeless = tasks.by == "last" and survey.times is None
    if timeless and counts.least >= FEW_USERS:
        advice = (
            "Add real times if you can: without them a ranker learns from what others did after a test user's target."
        )
    return graded(
        "split",
        f"by {tasks.by}: {counts.train:,} users to train on, {counts.valid:,} to validate, {counts.test:,} to test",
        advice,
        look=timeless or counts.least < FEW_USERS,
        stop=not counts.least,
    )
