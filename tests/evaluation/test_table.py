from io import StringIO

import pytest
from rich.console import Console

from trsr.evaluation.table import best_models, metric_columns, number, rich_table

NAMES = [f"{kind}@{k}/u20" for kind in ("hit", "ndcg", "mrr", "recall") for k in (10, 3, 5)] + ["auc/u20"]


def make_metrics(*models, names=NAMES):
    return {
        model: {name: {"mean": (0.1 * i + 0.2), "low": 0.1 * i + 0.15, "high": 0.1 * i + 0.25} for name in names}
        for i, model in enumerate(models)
    }


def printed(table):
    console = Console(width=120, file=StringIO())
    console.print(table)
    return console.file.getvalue()


def test_default_columns_are_the_ones_people_compare():
    shown = ["recall@3", "recall@5", "recall@10", "mrr@3", "mrr@5", "mrr@10", "ndcg@3", "auc"]
    assert metric_columns(make_metrics("a")) == [f"{name}/u20" for name in shown]


def test_full_shows_every_metric_in_order():
    kinds = [f"{kind}@{k}/u20" for kind in ("recall", "mrr", "ndcg", "hit") for k in (3, 5, 10)]
    assert metric_columns(make_metrics("a"), full=True) == [*kinds, "auc/u20"]


def test_more_cut_offs_do_not_widen_the_default_table():
    names = [f"{kind}@{k}" for kind in ("recall", "mrr") for k in (1, 2, 3, 5, 10)]
    assert metric_columns(make_metrics("a", names=names)) == [
        "recall@1",
        "recall@2",
        "recall@3",
        "mrr@1",
        "mrr@2",
        "mrr@3",
    ]


@pytest.mark.parametrize("full", [False, True])
def test_a_terminal_of_120_columns_holds_the_table_uncut(full):
    text = printed(rich_table(make_metrics("popularity", "recurrent-untuned", "chance"), full=full))
    rows = [line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith(" " * 10)]
    assert "…" not in text
    assert rows.index("chance") < rows.index("popularity") < rows.index("recurrent-untuned")
    assert "auc" in text
    assert "20 uniform negatives per example (u20)" in text
    assert text.count("/u20") == len(metric_columns(make_metrics("chance"), full=full))


def test_terminal_cells_are_mean_and_half_width_and_markup_in_names_is_text():
    text = printed(rich_table(make_metrics("chance", "[red]x[/red]")))
    assert ".200 ±.050" in text
    assert "[red]x[/red]" in text


def test_columns_of_different_protocols_are_told_apart():
    lines = printed(rich_table(make_metrics("chance", names=["recall@3/u20", "recall@3/i~37"]))).splitlines()
    assert sum(line.split() == ["model", "/i~37", "/u20"] for line in lines) == 1


def test_means_that_differ_in_their_last_bits_are_both_the_best():
    values = {"a": (0.4 + 1.4 / 3 + 0.4) / 3, "b": (1.4 / 3 + 0.4 + 0.4) / 3, "c": 0.42}
    values["b"] += 1e-16  # on whatever machine
    assert best_models({model: {"auc": {"mean": mean}} for model, mean in values.items()}, "auc") == {"a", "b"}


@pytest.mark.parametrize(
    ("value", "told"), [(-3e-17, ".000"), (-0.0004, "-.000"), (0.0, ".000"), (1.0, "1.000"), (-0.25, "-.250")]
)
def test_a_zero_has_no_sign(value, told):
    assert number(value) == told
