"""Charts with several series: points where their numbers are, and labels that can be read."""

from itertools import pairwise

import pytest

from trsr.evaluation.charts import LETTER, WIDTH, interval_plot
from trsr.evaluation.series import STYLES, Value, bucket_plot, scatter_plot, step_plot

LINES = [(f"m{place}", [Value(0.1 * place, 0.05 * place, 0.2 * place), Value(0.3)]) for place in range(1, STYLES + 1)]


def test_points_are_as_high_as_their_values_and_whiskers_as_long_as_intervals():
    plot = bucket_plot("t", "x", ["a", "b"], LINES)
    for (_, values), series in zip(LINES, plot.series, strict=True):
        for value, point in zip(values, series.points, strict=True):
            assert point.y == plot.y(value.mean)
            assert (point.low, point.high) == (plot.y(value.low or value.mean), plot.y(value.high or value.mean))
    assert plot.y.low == 0


def test_series_stand_beside_each_other_in_their_bucket():
    plot = bucket_plot(
        "t", "x", ["a", "b", "c", "d", "e", "f", "g", "h"], [(name, [values[0]] * 8) for name, values in LINES]
    )
    columns = list(zip(*[[point.x for point in series.points] for series in plot.series], strict=True))
    for column, following in pairwise(columns):
        assert sorted(set(column)) == list(column)
        assert column[-1] < following[0]
    assert plot.left < columns[0][0]
    assert columns[-1][-1] < plot.right


def test_every_series_has_its_own_style_and_chance_is_grey():
    lines = [("chance", [Value(0.1)]), *[(f"m{place}", [Value(0.2)]) for place in range(STYLES - 1)]]
    styles = [series.style for series in bucket_plot("t", "x", ["a"], lines).series]
    assert styles == [STYLES - 1, *range(STYLES - 1)]


def test_a_missing_value_leaves_a_gap():
    [series] = bucket_plot("t", "x", ["a", "b", "c"], [("m", [Value(0.1), None, Value(0.2)])]).series
    assert [point.text for point in series.points] == ["a: .100", "c: .200"]


@pytest.mark.parametrize(
    "buckets", [["0", "1-4", "5-19", "20-99", "100-499", "500+"], [f"listwise-{i}" for i in range(8)]]
)
def test_labels_of_buckets_do_not_touch(buckets):
    ticks = bucket_plot("t", "x", buckets, [("m", [Value(0.1)] * len(buckets))]).ticks
    for line in {drop for _, drop, _ in ticks}:
        ends = [(x - LETTER * len(text) / 2, x + LETTER * len(text) / 2) for x, drop, text in ticks if drop == line]
        assert all(end <= start for (_, end), (start, _) in pairwise(ends))


def test_steps_are_placed_by_their_number():
    plot = step_plot("t", [("m", [(0.0, 0.2), (50.0, 0.4), (100.0, 0.3)])])
    first, middle, last = plot.series[0].points
    assert middle.x - first.x == pytest.approx(last.x - middle.x, abs=0.02)
    assert (first.x, last.x) == (plot.left, plot.right)
    assert [point.text for point in (first, last)] == [".200 at step 0", ".300 at step 100"]


def test_ten_times_the_cost_is_one_step_to_the_right():
    points = [("a", 0.01, Value(0.2)), ("b", 0.1, Value(0.3)), ("c", 1.0, Value(0.4))]
    a, b, c = scatter_plot("t", "seconds", points).places
    assert b.x - a.x == pytest.approx(c.x - b.x, abs=0.02)


@pytest.mark.parametrize("points", [[("a", 3.0, Value(0.2)), ("b", 3.0, Value(0.2))], [("a", 1.0, Value(0.2))]])
def test_one_cost_alone_has_an_axis(points):
    plot = scatter_plot("t", "tokens", points)
    assert all(plot.left <= place.x <= plot.right for place in plot.places)
    assert len(plot.ticks) >= 2


def test_labels_cover_neither_dots_nor_each_other():
    names = [
        "popularity",
        "item_knn",
        "sasrec",
        "gru4rec",
        "untuned",
        "trsr-none",
        "trsr-recurrent",
        "trsr-hierarchical",
    ]
    points = [(name, 0.01 * (1 + place % 3), Value(0.2 + place / 50)) for place, name in enumerate(names)]
    places = scatter_plot("t", "seconds", points).places
    boxes = []
    for place in (place for place in places if place.spot):
        size, (x, y, anchor) = LETTER * len(place.label), place.spot
        start = x - {"start": 0, "middle": size / 2, "end": size}[anchor]
        boxes.append((start, y - 10, start + size, y + 3))
    assert len(boxes) >= 5
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0
        assert right <= WIDTH
        assert not [p for p in places if left < p.x < right and top < p.y < bottom]
        for other in boxes[:index]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_long_names_stand_whole_above_their_whiskers():
    interval = {"auc": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    name = "trsr-recurrent · learning_rate 0.001, loss listwise"
    plot = interval_plot({"chance": interval, name: interval}, "auc")
    assert [row.label for row in plot.rows] == ["chance", name]
    assert plot.anchor == "start"
    assert plot.label_x + LETTER * len(name) <= WIDTH
    for row in plot.rows:
        assert row.label_y < row.y - 4
