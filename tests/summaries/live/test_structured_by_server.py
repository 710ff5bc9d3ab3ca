"""Structured profiles through a server, which is asked for the form in words and checked."""

import pytest
from desk import Desk

from llm.chat_server import WORDS
from trsr.prompts.templates import TemplateSet


@pytest.fixture
def desk(trsr, writer, model, tmp_path):
    return Desk(trsr, writer, model, tmp_path)


@pytest.fixture
def form():
    """The names of the lines of the template that the desk takes."""
    return list(TemplateSet("books").form.values())


def test_an_answer_with_all_lines_is_the_profile(desk, writer, form, monkeypatch):
    plain = writer.text

    def lines(body):
        code = plain(body).split()[0]
        return "\n".join(f"{name}: {code}{number}, {WORDS[number]}" for number, name in enumerate(form))

    monkeypatch.setattr(writer, "text", lines)
    told = desk.told(form="structured")
    assert (told["faults"], told["retried"], told["replaced"]) == ({}, 0, {})
    for summary in desk.export(form="structured")["summary"]:
        assert [line.partition(": ")[0] for line in summary.split(" | ")] == form
        assert [line.rpartition(", ")[2] for line in summary.split(" | ")] == list(WORDS[: len(form)])


def test_an_answer_without_a_line_is_asked_for_again_and_then_replaced(desk, writer, form):
    told = desk.told(form="structured")  # plain words
    assert told["retried"] == told["faults"]["malformed"] / 2 > 0
    assert sum(told["replaced"].values()) == told["retried"]
    for summary in desk.export(form="structured")["summary"]:
        assert [line.partition(": ")[0] for line in summary.split(" | ")] == form


def test_grounded_words_are_refused_with_a_server(desk, writer):
    outcome = desk.summarize(grounded=True)
    assert outcome.code == 2
    assert outcome.complaint == (
        "summaries.backend openai: only local weights can be held to grounded words; set summaries.grounded to false"
    )
    assert not writer.asked()
