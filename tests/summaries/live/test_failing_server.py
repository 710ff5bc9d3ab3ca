"""`trsr summarize` at a server that misbehaves: what passes changes nothing, what stays is told, no answer is lost."""

import socket

import polars as pl
import pytest
from desk import Desk
from polars.testing import assert_frame_equal
from processes import start, stored_texts
from readers import write_settings
from writer import repeated

from llm.chat_server import MODEL

MAY_PASS = ["busy", "failing", "reset", "cut_short", "garbled", "page", "hang", "drip"]
KEY = "sk-very-secret-4711"


class TriedDesk(Desk):
    """A desk at a server that misbehaves."""

    def undisturbed(self):
        """The texts that are asked for, and the profiles, where nothing fails."""
        profiles = self.export(store=self.folder / "undisturbed.sqlite")
        return self.writer.take_asked(), profiles

    def refused(self, **backend):
        """The one line of a run that fails at the backend, which is all that it writes."""
        outcome = self.summarize(backend=backend)
        assert outcome.code == 4
        assert outcome.err == f"trsr: {outcome.complaint}\n"
        return outcome.complaint

    def assert_goes_on(self, needed, undisturbed, **backend):
        """The next run asks for what is not stored, once, and ends as an undisturbed one."""
        stored = stored_texts(self.store)
        self.writer.take_asked()
        profiles = self.export(backend=backend)
        asked = self.writer.take_asked()
        assert not repeated(asked)
        assert set(asked) == set(needed) - stored
        assert_frame_equal(profiles, undisturbed)


@pytest.fixture
def desk(trsr, writer, model, tmp_path):
    return TriedDesk(trsr, writer, model, tmp_path)


def fail_once(writer, faults, share=1):
    """The first request for one text in `share` meets one of the faults; what is asked for again is answered."""
    met, coming = set(), []

    def fault_of(body):
        text = writer.text(body)
        if text in met or int(text[:4], 16) % share:
            return ""
        met.add(text)
        coming[:] = coming or faults
        return coming.pop(0)

    writer.server.fault_of = fault_of


def fail_after(writer, answers, fault):
    """So many requests are answered, those behind them meet the fault."""
    left = iter(range(answers))
    writer.server.fault_of = lambda body: fault if next(left, None) is None else ""


@pytest.mark.parametrize("fault", MAY_PASS)
def test_what_passes_changes_no_profile(desk, writer, fault):
    needed, undisturbed = desk.undisturbed()
    fail_once(writer, [fault], share=4)
    profiles = desk.export(backend={"timeout": 0.5 if fault in ("hang", "drip") else 5})
    asked = writer.take_asked()
    assert repeated(asked)  # the fault was there
    assert set(asked) == set(needed)
    assert_frame_equal(profiles, undisturbed)


def test_a_server_where_every_first_request_fails_in_another_way_changes_no_profile(desk, writer):
    needed, undisturbed = desk.undisturbed()
    fail_once(writer, MAY_PASS)
    profiles = desk.export(backend={"timeout": 1})
    assert set(repeated(writer.take_asked())) == set(needed)
    assert_frame_equal(profiles, undisturbed)


@pytest.mark.parametrize(
    ("fault", "fact", "remedy"),
    [
        ("busy", "answered 429 (too many requests)", "see to the server"),
        ("failing", "answered 500 (engine died)", "see to the server"),
        ("reset", "could not be reached", "see to the server"),
        ("cut_short", "could not be reached", "see to the server"),
        ("garbled", "answered with invalid JSON", "check that the url is the server's"),
        ("hang", "gave no answer in 0.5 s", "raise the timeout or lower the concurrency"),
        ("drip", "gave no answer in 0.5 s", "raise the timeout or lower the concurrency"),
        ("refusing", "answered 400 (the prompt is longer than the context)", "change what it complains about"),
        ("unknown_model", "answered 404 (model 'tiny-writer' not found)", "check the url, the protocol and the model"),
        ("locked", "refused a request without a key (401)", "name the variable that holds a valid key"),
    ],
)
def test_what_does_not_pass_ends_with_one_line_and_keeps_every_answer(desk, writer, fault, fact, remedy):
    needed, undisturbed = desk.undisturbed()
    fail_after(writer, 9, fault)
    complaint = desk.refused(timeout=0.5 if fault in ("hang", "drip") else 5)
    assert complaint.startswith(f"{writer.server.url}/v1/chat/completions {fact}")
    assert remedy in complaint
    assert stored_texts(desk.store) == set(writer.take_asked()[:9])
    writer.server.fault_of = lambda body: ""
    desk.assert_goes_on(needed, undisturbed)


@pytest.mark.parametrize(
    ("spoil", "fact"),
    [
        (lambda reply: {"choices": []}, "answered without a message or its token counts"),
        (lambda reply: reply | {"usage": None}, "answered without a message or its token counts"),
    ],
)
def test_an_answer_that_is_none_is_not_stored(desk, writer, spoil, fact):
    needed, undisturbed = desk.undisturbed()
    writer.server.spoil = spoil
    complaint = desk.refused()
    assert complaint.startswith(writer.server.url)
    assert fact in complaint
    assert not stored_texts(desk.store)
    writer.server.spoil = lambda reply: reply
    desk.assert_goes_on(needed, undisturbed)


def test_what_a_filter_withholds_is_asked_for_again_replaced_and_counted(desk, writer):
    """One item that a provider does not like must not end every run."""

    def withhold(reply):
        if len(writer.server.bodies) % 5 == 0:
            reply["choices"][0] |= {"finish_reason": "content_filter", "message": {"content": None}}
        return reply

    writer.server.spoil = withhold
    told = desk.told(backend={"concurrency": 1})
    assert told["renewed"] == told["users"]
    assert told["retried"] >= told["faults"]["empty"] / 2 > 0
    assert desk.told()["calls_made"] == 0


def test_a_server_that_goes_half_way_is_named_and_the_next_run_goes_on(desk, writer):
    needed, undisturbed = desk.undisturbed()
    fail_after(writer, 12, "reset")
    assert "could not be reached" in desk.refused()
    stored = stored_texts(desk.store)
    assert len(stored) == 12
    with socket.socket() as unused:  # bound and silent: nobody listens there
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert desk.refused(url=url).startswith(f"{url}/v1/models could not be reached")
    assert stored_texts(desk.store) == stored
    writer.server.fault_of = lambda body: ""
    desk.assert_goes_on(needed, undisturbed)


def test_a_model_that_the_server_does_not_serve_is_named_with_those_that_it_serves(desk, writer):
    assert desk.refused(model="large-writer") == f"{writer.server.url} does not serve large-writer; it serves {MODEL}"
    assert not writer.asked()


def test_a_budget_of_calls_is_kept_to_and_the_next_runs_go_on(desk, writer):
    needed, undisturbed = desk.undisturbed()
    asked = []
    while len(asked) + 10 < len(needed):
        complaint = desk.refused(max_calls=10)
        assert complaint == "max_calls 10 is reached; raise it and run again, what is done is kept"
        made = writer.take_asked()
        assert len(made) == 10
        asked += made
        assert stored_texts(desk.store) == set(asked)
    assert not repeated(asked)
    desk.assert_goes_on(needed, undisturbed, max_calls=10)


def test_a_key_reaches_the_server_and_nothing_else(desk, writer, monkeypatch):
    monkeypatch.setenv("WRITER_KEY", KEY)
    fail_after(writer, 9, "locked")
    settings = {"backend": {"api_key_env": "WRITER_KEY"}}
    printed = [desk.summarize("--json", **settings)]
    writer.server.fault_of = lambda body: ""
    printed += [desk.summarize("--export", desk.table, *more, **settings) for more in ([], ["--json"])]
    assert [outcome.code for outcome in printed] == [4, 0, 0]
    assert "refused the key in WRITER_KEY (401)" in printed[0].err
    assert set(writer.server.keys) == {f"Bearer {KEY}"}
    assert all(KEY not in outcome.out + outcome.err for outcome in printed)
    files = [path for path in desk.folder.rglob("*") if path.is_file()]
    assert {desk.store, desk.table} <= set(files)
    assert all(KEY.encode() not in path.read_bytes() for path in files)
    assert KEY not in str(pl.read_parquet(desk.table).to_dicts())


@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_a_server_that_repeats_the_key_does_not_get_it_printed(desk, writer, monkeypatch, status):
    monkeypatch.setenv("WRITER_KEY", KEY)
    writer.server.indiscreet = status
    fail_after(writer, 2, "echoing_headers")
    outcome = desk.summarize("--json", backend={"api_key_env": "WRITER_KEY"})
    assert outcome.code == 4
    assert "what is this: Bearer ***, it said" in outcome.complaint
    assert KEY not in outcome.out + outcome.err


def test_a_key_that_is_not_there_is_told_before_anything_is_asked(desk, writer, monkeypatch):
    monkeypatch.delenv("WRITER_KEY", raising=False)
    outcome = desk.summarize(backend={"api_key_env": "WRITER_KEY"})
    assert outcome.code == 2
    assert outcome.complaint == "api_key_env WRITER_KEY: the environment holds no usable key there; export it"
    assert not writer.asked()


def test_a_process_of_its_own_ends_with_4_and_one_line(desk, writer):
    """As a script that starts it sees it."""
    fail_after(writer, 3, "locked")
    desk.readers.write(desk.shop)
    config = write_settings(desk.folder / "config.yaml", desk.model, writer.backend)
    process = start(desk.shop, "--config", config, "--store", desk.store, "--json")
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (4, "")
    assert err == (
        f"trsr: {writer.server.url}/v1/chat/completions refused a request without a key (401); "
        "name the variable that holds a valid key\n"
    )
    assert len(stored_texts(desk.store)) == 3
