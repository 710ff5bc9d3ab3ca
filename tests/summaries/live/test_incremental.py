"""What a new, late or corrected event costs through `trsr summarize`: the texts that depend on it, and no other.

What depends on what is worked out from the events alone (`readers.texts_of`), and compared with what the server is
asked for.
"""

import shutil
from itertools import pairwise

import pytest
from desk import Desk
from readers import BLOCK, FAN_IN, HOUR, blocks_by_user, blocks_of, make_readers, texts_of
from writer import repeated

METHODS = ["recurrent", "hierarchical"]


class Growing(Desk):
    """A desk whose readers change."""

    def begin(self, cut=blocks_of, fan_in=FAN_IN, **settings):
        """Bring all profiles up to date with these settings, by which `cut` makes the blocks; steps count from here."""
        self.cut, self.fan_in, self.settings = cut, fan_in, settings | {"fan_in": fan_in}
        self.known, self.blocks = set(), {}
        self.step()

    def step(self):
        """Update, and compare what was asked for and renewed with what depends on the changes; gives the calls."""
        wanted = texts_of(self.readers, self.method, self.cut, self.fan_in)
        blocks = blocks_by_user(self.readers, self.cut)
        told = self.told(**self.settings)
        asked = self.writer.take_asked()
        assert not repeated(asked)
        assert len(asked) == told["calls_made"] == len(wanted - self.known)
        changed = [user for user in blocks if blocks[user] != self.blocks.get(user)]
        assert told["renewed"] == len(changed)
        assert told["unchanged"] == told["users"] - len(changed)
        self.known, self.blocks = self.known | wanted, blocks
        return len(asked)

    def assert_profiles_tell_the_events(self):
        """Current profiles cover all whole blocks, or all events, of each reader."""
        for user, versions in self.versions().items():
            events, profile = self.readers.events[user], versions[-1]
            blocks = self.cut([item for item, _ in events])
            assert profile.blocks == tuple(blocks)
            assert profile.events == sum(map(len, blocks))
            assert (profile.last_item, profile.last_time) == events[profile.events - 1]


@pytest.fixture(params=METHODS)
def desk(request, trsr, writer, model, tmp_path):
    growing = Growing(trsr, writer, model, tmp_path)
    growing.method = request.param
    return growing


def new_books(desk, user):
    """Books that a reader has not read."""
    return sorted(set(desk.readers.titles) - set(desk.readers.items(user)))


def whole_blocks(items):
    blocks = blocks_of(items)
    return blocks if len(blocks[-1]) == BLOCK else blocks[:-1]


def levels(count, fan_in=FAN_IN):
    """Levels of merges above so many blocks."""
    return 0 if count == 1 else 1 + levels(-(-count // fan_in), fan_in)


def test_new_events_cost_the_blocks_that_they_join_and_what_stands_above(desk):
    desk.begin()
    desk.assert_profiles_tell_the_events()
    assert desk.step() == 0
    for user in ("r001", "r004"):
        desk.readers.append(user, *new_books(desk, user)[:5])
    assert desk.step() > 0
    desk.assert_profiles_tell_the_events()


@pytest.mark.parametrize(("fan_in", "settings"), [(3, {}), (2, {"max_new_tokens": 160})])
def test_one_reader_grows_event_by_event(desk, fan_in, settings):
    """One call each for a recurrent summary, one leaf and its path for a hierarchical one of nine blocks and more."""
    desk.readers = make_readers(2, 36, 36)
    desk.begin(fan_in=fan_in, **settings)
    for place, book in enumerate(new_books(desk, "r001")[:9], 37):
        desk.readers.append("r001", book)
        path = levels(len(blocks_of(desk.readers.items("r001"))), fan_in)
        assert 1 <= desk.step() <= (1 if desk.method == "recurrent" else 1 + path)
        versions = desk.versions()
        assert len(versions["r000"]) == 1
        assert [one.events for one in versions["r001"]] == list(range(36, place + 1))
    desk.assert_profiles_tell_the_events()


def test_where_the_last_block_waits_an_event_costs_nothing_until_its_block_is_whole(desk):
    desk.readers = make_readers(2, 36, 36)
    desk.begin(whole_blocks, last_block="wait")
    calls = []
    for book in new_books(desk, "r001")[:8]:
        desk.readers.append("r001", book)
        calls.append(desk.step())
    assert [bool(made) for made in calls] == 2 * [False, False, False, True]
    assert desk.method == "hierarchical" or sum(calls) == 2
    assert [one.events for one in desk.versions()["r001"]] == [36, 40, 44]
    desk.assert_profiles_tell_the_events()


def test_a_late_event_costs_what_comes_behind_it(desk):
    desk.begin()
    events = desk.readers.events["r002"]
    place = len(events) // 2
    events.insert(place, (new_books(desk, "r002")[0], events[place][1] - HOUR // 2))
    calls = desk.step()
    behind = len(blocks_of(events)) - place // BLOCK
    assert calls == behind if desk.method == "recurrent" else calls > behind
    desk.assert_profiles_tell_the_events()
    assert {user: len(versions) for user, versions in desk.versions().items()} == {
        user: 2 if user == "r002" else 1 for user in desk.readers.events
    }


def test_another_item_in_place_of_one_costs_its_block_and_what_depends_on_it(desk):
    desk.begin()
    events = desk.readers.events["r003"]
    place = len(events) // 2
    events[place] = (new_books(desk, "r003")[0], events[place][1])
    blocks = blocks_of(events)
    expected = len(blocks) - place // BLOCK if desk.method == "recurrent" else 1 + levels(len(blocks))
    assert 1 < desk.step() <= expected
    desk.assert_profiles_tell_the_events()


def test_a_corrected_text_costs_its_readers_and_nobody_else(desk):
    desk.begin()
    book = desk.readers.items("r000")[5]
    desk.readers.titles[book] = "a title without the error"
    having = {user for user in desk.readers.events if book in desk.readers.items(user)}
    assert having < set(desk.readers.events)
    assert desk.step() > 0
    assert {user for user, versions in desk.versions().items() if len(versions) == 2} == having


def test_what_is_taken_back_is_found_and_earlier_versions_stay(desk):
    desk.begin()
    before = desk.versions()
    events = list(desk.readers.events["r005"])
    desk.readers.append("r005", *new_books(desk, "r005")[:6])
    desk.step()
    desk.readers.events["r005"] = events
    assert desk.step() == 0
    [first, second, third] = desk.versions()["r005"]
    assert [one.events for one in (first, second, third)] == [len(events), len(events) + 6, len(events)]
    assert (third.summary, third.steps, third.calls) == tuple(
        getattr(before["r005"][0], name) for name in ("summary", "steps", "calls")
    )
    assert (first.summary, first.inputs, first.last_item) == (third.summary, third.inputs, third.last_item)
    assert second.summary != first.summary


def test_of_a_long_history_whole_blocks_are_left_out(desk):
    most = 3 * BLOCK

    def latest(items):
        blocks = blocks_of(items)
        while sum(map(len, blocks)) > most:
            blocks.pop(0)
        return blocks

    desk.readers = make_readers(2, 28, 28)
    desk.begin(latest, data={"max_history": most})
    calls = []
    for book in new_books(desk, "r001")[: 2 * BLOCK]:
        desk.readers.append("r001", book)
        calls.append(desk.step())
    lengths = [len(versions[-1].blocks) for versions in desk.versions().values()]
    assert lengths == [3, 3]
    if desk.method == "recurrent":  # the blocks move once in four events, and the three of them are made anew
        assert calls == 2 * [3, 1, 1, 1]


def test_nothing_new_means_no_call_and_no_weights(trsr, model, tmp_path, monkeypatch):
    desk = Desk(trsr, None, model, tmp_path)
    desk.readers = make_readers(3)
    desk.method = "hierarchical"
    settings = {"max_new_tokens": 8, "max_prompt_tokens": 2048, "grounded": False}
    first = desk.told("--export", desk.table, **settings)
    assert first["calls_made"] > 0
    before = desk.table.read_bytes()
    monkeypatch.setattr("trsr.llm.backend.load_model", lambda *_: 1 / 0)
    again = desk.told("--export", desk.table, **settings)
    assert (again["calls_made"], again["renewed"], again["unchanged"]) == (0, 0, 3)
    assert desk.table.read_bytes() == before
    desk.readers.append("r000", new_books(desk, "r000")[0])
    with pytest.raises(ZeroDivisionError):  # the weights are what it lacks, so the test above can fail
        desk.summarize(**settings)


@pytest.mark.parametrize(
    "change",
    [
        {"max_new_tokens": 95},
        {"block_size": 3},
        {"item_tokens": 20},
        {"last_block": "wait"},
        {"prompt": {"template": "films"}},
        {"template": "films"},
        {"backend": {"more": {"top_p": 0.5}}},
        {"backend": {"answer_start": "tell"}},
    ],
)
def test_a_setting_that_changes_texts_renews_them(desk, writer, change):
    desk.told()
    writer.take_asked()
    told = desk.told(**change)
    if change == {"last_block": "wait"}:
        waiting = [user for user in desk.readers.events if len(desk.readers.items(user)) % BLOCK]
        assert told["renewed"] >= len(waiting) > 0
    else:
        assert told["renewed"] == told["users"]
        assert writer.asked()


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 2},
        {"dtype": "bfloat16"},
        {"backend": {"concurrency": 1, "timeout": 9}},
        {"backend": {"max_calls": 1}},
        {"prompt": {"recent_items": 1, "summary_tokens": 60}},
        {"template": "books"},
        {"prompt": {"template": "films"}, "template": "books"},
    ],
)
def test_a_setting_that_changes_no_text_renews_nothing(desk, writer, change):
    desk.told()
    writer.take_asked()
    told = desk.told(**change)
    assert (told["renewed"], told["unchanged"]) == (0, told["users"])
    assert not writer.asked()


def test_a_store_may_be_moved(desk, writer):
    before = desk.export()
    writer.take_asked()
    moved = shutil.copy(desk.store, desk.folder / "moved.sqlite")
    assert desk.export(store=moved).equals(before)
    assert not writer.asked()


def test_blocks_of_tokens_keep_to_their_measure_and_grow_at_the_end(desk):
    """A token is a byte here."""
    most = 60

    def by_tokens(items):
        blocks = [[]]
        for item in items:
            texts = [f"title: {desk.readers.titles[one]}" for one in (*blocks[-1], item)]
            if blocks[-1] and (len(texts) > BLOCK or sum(map(len, texts)) > most):
                blocks.append([])
            blocks[-1].append(item)
        return [tuple(block) for block in blocks]

    desk.begin(by_tokens, segments="tokens", block_tokens=most)
    assert {len(block) for blocks in desk.blocks.values() for block in blocks} >= {2, 3}
    desk.readers.append("r001", *new_books(desk, "r001")[:3])
    desk.step()
    desk.assert_profiles_tell_the_events()


def test_blocks_of_sessions_end_where_the_reader_paused(desk):
    for user, events in desk.readers.events.items():
        pauses = {3, 5, 6} if user == "r001" else {7}
        desk.readers.events[user] = [
            (item, time + 10 * HOUR * sum(place >= pause for pause in pauses))
            for place, (item, time) in enumerate(events)
        ]

    def sessions(items):
        events = next(events for events in desk.readers.events.values() if [item for item, _ in events] == items)
        gaps = [place for place, ((_, one), (_, other)) in enumerate(pairwise(events), 1) if other - one > 2 * HOUR]
        ends = [0, *gaps, len(items)]
        return [block for start, end in pairwise(ends) for block in blocks_of(items[start:end])]

    desk.begin(sessions, segments="session", session_hours=2)
    assert [len(block) for block in desk.blocks["r001"]][:4] == [3, 2, 1, 4]
    _, last = desk.readers.events["r001"][-1]
    desk.readers.events["r001"].append((new_books(desk, "r001")[0], last + 3 * HOUR))
    desk.step()
    desk.assert_profiles_tell_the_events()


def test_sessions_without_times_are_refused_in_one_sentence(desk):
    desk.readers.events = {user: [(item, None) for item, _ in events] for user, events in desk.readers.events.items()}
    outcome = desk.summarize(segments="session", session_hours=2)
    assert outcome.code == 2
    assert outcome.complaint == (
        "summaries.segments session: user 'r000' has an event without a time; take count or tokens"
    )
    assert desk.told()["renewed"] == 6
