"""Steps of an import at once; if these fail, batches are lost, used out of order, or an error goes unseen."""

import threading

import pytest

from trsr.data.importing.pipeline import one_behind, some_at_once


def test_values_are_used_in_order_one_at_a_time_while_the_next_is_made():
    used, busy, at_once = [], threading.Lock(), threading.Event()

    def use(value):
        assert busy.acquire(blocking=False)
        if value == 1:
            assert at_once.wait(10)  # set by whoever makes the next value meanwhile
        used.append(value)
        busy.release()

    with one_behind(use) as hand_over:
        for value in range(5):
            if value == 2:
                at_once.set()
            hand_over(value)
    assert used == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("bad", range(3))
def test_an_error_reaches_the_caller_and_nothing_behind_it_is_used(bad):
    used = []

    def use(value):
        if value == bad:
            raise ValueError(f"no {value}")
        used.append(value)

    def hand_over_all():
        with one_behind(use) as hand_over:
            for value in range(3):
                hand_over(value)

    with pytest.raises(ValueError, match=f"no {bad}"):
        hand_over_all()
    assert used == list(range(bad))
    assert not any(thread.name.startswith("import") for thread in threading.enumerate())


def test_an_error_of_the_caller_waits_for_what_is_under_way():
    used = []

    def interrupted():
        with one_behind(used.append) as hand_over:
            hand_over(0)
            hand_over(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert used == [0, 1]


def test_what_is_made_at_once_is_used_in_order():
    both, used = threading.Barrier(2), []

    def make(value):
        if value in (1, 2):
            both.wait(10)  # broken unless two are made at once
        return 10 * value

    with some_at_once(make, used.append) as hand_over:
        for value in range(7):
            hand_over(value)
            assert used == [10 * earlier for earlier in range(len(used))]
            assert value < 3 + len(used)
    assert used == [0, 10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize("bad", range(5))
@pytest.mark.parametrize("where", ["made", "used"])
def test_an_error_of_something_made_at_once_reaches_the_caller(bad, where):
    used = []

    def checked(value, at):
        if (value, at) == (bad, where):
            raise ValueError(f"no {value}")
        return value

    def hand_over_all():
        with some_at_once(
            lambda value: checked(value, "made"), lambda value: used.append(checked(value, "used"))
        ) as hand_over:
            for value in range(5):
                hand_over(value)

    with pytest.raises(ValueError, match=f"no {bad}"):
        hand_over_all()
    assert used == list(range(bad))
    assert not any(thread.name.startswith("import") for thread in threading.enumerate())
