"""`trsr summarize --dry-run`: what a user is told of calls, tokens, cost and time is what the run then takes."""

import tempfile

import pytest
from desk import Desk
from readers import BLOCK, make_readers, unread

from trsr.llm.weights import load_tokenizer, resolve_weights

METHODS = ["recurrent", "hierarchical"]


@pytest.fixture
def desk(trsr, writer, model, tmp_path, monkeypatch):
    """Readers who share no book, at a server whose texts are as long as they may be and counted in the same tokens."""
    tokenizer = load_tokenizer(resolve_weights(str(model)))

    def tokens(body):
        prompt = tokenizer.apply_chat_template(body["messages"], tokenize=False, continue_final_message=True)
        return len(tokenizer.encode(prompt, add_special_tokens=False))

    writer.tokens, writer.full = tokens, True
    desk = Desk(trsr, writer, model, tmp_path)
    desk.readers = make_readers(6, apart=True)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return desk


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dry_run(desk, *arguments, **changes):
    """What a dry run tells; it must generate nothing and leave everything as it was."""
    desk.readers.write(desk.shop)
    before = contents(desk.folder)
    told = desk.told("--dry-run", *arguments, **changes)
    after = contents(desk.folder)
    config = desk.folder / "config.yaml"
    assert {path: after[path] for path in after if path != config} == {
        path: before[path] for path in before if path != config
    }
    assert not desk.writer.asked()
    return told


def assert_as_foretold(desk, *arguments):
    """A run takes the calls and tokens that a dry run told of it; gives them."""
    told = dry_run(desk, *arguments)
    taken = desk.told(*arguments)
    made = taken["of_these_made_now"]
    assert told["users"] == taken["users"]
    assert told["unchanged"] == taken["unchanged"]
    assert told["calls"] == made["calls"] == len(desk.writer.take_asked())
    assert told["tokens_in"] == pytest.approx(made["tokens_in"], rel=0.05)
    assert told["tokens_out"] == made["tokens_out"]
    return told


@pytest.mark.parametrize("method", METHODS)
def test_a_run_takes_what_the_dry_run_told(desk, method):
    desk.method = method
    assert dry_run(desk)["calls"] > 20
    assert assert_as_foretold(desk, "--users", 2)["calls"] > 5  # a new store
    assert assert_as_foretold(desk)["calls"] > 15  # a store that knows two readers
    for user, count in (("r000", 1), ("r003", BLOCK + 1)):
        desk.readers.append(user, *unread(desk.readers)[:count])
    foretold = assert_as_foretold(desk)  # new events
    assert foretold["calls"] > 1
    assert foretold["unchanged"] == 4
    assert assert_as_foretold(desk)["calls"] == 0


@pytest.mark.parametrize("method", METHODS)
def test_of_a_run_that_was_broken_off_the_rest_is_told(desk, method):
    desk.method = method
    whole = dry_run(desk)["calls"]
    assert desk.summarize(backend={"max_calls": 17}).code == 4
    assert len(desk.writer.take_asked()) == 17
    assert assert_as_foretold(desk)["calls"] == whole - 17


def test_an_extractive_summary_takes_no_call(desk):
    desk.method = "extractive"
    told = assert_as_foretold(desk)
    assert (told["users"], told["unchanged"], told["calls"], told["tokens_in"]) == (6, 0, 0, 0)
    assert dry_run(desk)["unchanged"] == 6


def test_cost_and_time_are_what_prices_and_rate_make_of_it(desk):
    terms = ("--price-in", 0.5, "--price-out", 4, "--rate", 0.004)
    told = dry_run(desk, *terms)
    assert told["cost"] == pytest.approx((told["tokens_in"] * 0.5 + told["tokens_out"] * 4) / 1_000_000)
    assert told["seconds"] == pytest.approx(told["calls"] / 0.004)
    assert told["tokens_out"] == told["calls"] * told["tokens_per_summary"]
    lines = desk.summarize("--dry-run", *terms).out.splitlines()
    hours, rest = divmod(round(told["seconds"]), 3600)
    assert lines == [
        "6 users, 0 of them up to date",
        f"{told['calls']} calls, {told['tokens_in']:,} tokens to read and {told['tokens_out']:,} to write "
        "(96 tokens a summary)",
        f"cost: {told['cost']:.4g}",
        f"time: {hours} h {rest // 60} min {rest % 60} s",
    ]
    free = dry_run(desk, "--price-out", 4)
    assert free["cost"] == pytest.approx(told["tokens_out"] * 4 / 1_000_000)
    assert "seconds" not in free


def test_texts_are_taken_to_be_as_long_as_those_of_the_model_in_the_store(desk, writer):
    writer.full = False
    desk.told("--users", 3)
    lengths = [len(text) for text in writer.take_asked()]
    mean = sum(lengths) / len(lengths)
    assert mean < 40
    told = dry_run(desk)
    assert told["tokens_per_summary"] == pytest.approx(mean)
    assert told["tokens_out"] == round(mean) * told["calls"]
    made = desk.told()["of_these_made_now"]
    assert (made["calls"], made["tokens_in"]) == (told["calls"], pytest.approx(told["tokens_in"], rel=0.05))


def test_without_a_store_a_dry_run_makes_none(desk):
    dry_run(desk)
    assert not desk.store.exists()
    assert not list((desk.folder / "scratch").iterdir())


def test_a_dry_run_needs_the_server_only_to_tell_what_it_serves(desk, writer):
    writer.server.fault_of = lambda body: "failing"
    assert dry_run(desk)["calls"] > 0
    writer.server.models = []
    assert desk.summarize("--dry-run").code == 4
