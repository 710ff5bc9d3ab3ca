"""`trsr bench summarize` as a user types it, on a tiny model: what is counted, not how fast."""

import json

import yaml

KEYS = ["method", "users", "calls", "tokens_in", "tokens_out", "seconds", "device"]


def settings(tmp_path, model):
    path = tmp_path / "bench.yaml"
    summaries = {"model": str(model), "dtype": "float32", "block_size": 4, "item_tokens": 16, "max_new_tokens": 8}
    values = {
        "name": "bench",
        "data": {"bookshop": {}, "attributes": ["title"]},
        "prompt": {"template": "books"},
        "summaries": summaries | {"max_prompt_tokens": 900, "grounded": False},
    }
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_every_method_is_a_row_with_its_calls(trsr, tiny_model, tmp_path):
    outcome = trsr(
        *("bench", "summarize", "--config", settings(tmp_path, tiny_model), "--json"),
        *("--users", "6", "--published-users", "2", "--rerun-users", "40"),
    )
    assert outcome.code == 0
    rows = {row["method"]: row for row in json.loads(outcome.out)}
    assert [list(row) for row in rows.values()] == [KEYS] * 5
    assert (rows["published"]["users"], rows["published"]["calls"]) == (2, 10)
    ours, best, grown = rows["trsr"], rows["backend_best"], rows["trsr_incremental"]
    assert ours["users"] == best["users"] == grown["users"] == 6
    assert best["calls"] == ours["calls"]
    assert best["tokens_in"] == ours["tokens_in"]
    # 9 to 16 events: 3 or 4 blocks of 4, of which the last is new; second attempts come on top
    assert 6 <= grown["calls"] <= 12
    assert ours["calls"] >= 2 * grown["calls"]
    assert (rows["trsr_rerun"]["users"], rows["trsr_rerun"]["calls"], rows["trsr_rerun"]["tokens_in"]) == (40, 0, 0)
    assert all(row["seconds"] > 0 for row in rows.values())


def test_the_table_compares_with_the_published_way(trsr, tiny_model, tmp_path):
    outcome = trsr(
        *("bench", "summarize", "--config", settings(tmp_path, tiny_model), "--users", "3", "--published-users", "1"),
        *("--method", "published"),
    )
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].startswith(f"summaries, recurrent: {tiny_model}, cpu")
    cells = {line.split()[0]: line.split() for line in lines[2:] if line.strip() and not line.startswith(" ─")}
    assert cells["published"][1:3] == ["1", "5"]
    assert cells["published"][7] == "1.00"
    assert set(cells) == {"method", "trsr", "published"}


def test_an_unknown_method_is_one_sentence(trsr):
    outcome = trsr("bench", "summarize", "--method", "magic")
    assert outcome.code == 2
    assert outcome.complaint.startswith("--method: no method 'magic'; take published, backend_best, trsr, ")
