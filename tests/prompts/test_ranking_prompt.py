"""The ranking prompt: nothing cut that decides the answer, the rest within budgets, all that gave way is counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_parts import BOOKS, CHAT, decode, make_items, make_prompts

from tiny import make_tokenizer
from trsr.config import PromptConfig
from trsr.errors import ConfigError
from trsr.llm.chat import ChatFormat
from trsr.prompts.ranking import RankingPrompts
from trsr.prompts.templates import TemplateSet

HISTORY = ["b0", "b1", "b2", "b3"]
SUMMARY = "Likes birds, boats and quiet evenings by the sea"
TAIL = "\nChosen next, yes or no?<|im_end|>\n<|im_start|>assistant\n"


def length(prompt):
    return len(prompt.prefix) + max(len(suffix) for suffix in prompt.suffixes)


def needed(**settings):
    """The tokens of the prompt without any limit."""
    return length(make_prompts(max_tokens=8192, **settings).build(SUMMARY, HISTORY, ["b9"]))


def test_a_whole_prompt_reads_as_it_should():
    prompt = make_prompts().build(SUMMARY, HISTORY, ["b8", "b9"])
    assert decode(prompt.prefix) == (
        "<|im_start|>system\nYou predict what a reader will read next. Weigh the lasting preferences of the reader "
        "together with the latest books, and answer with one word, yes or no.<|im_end|>\n<|im_start|>user\n"
        f"Lasting preferences: {SUMMARY}\n\nLatest books the reader read, oldest first:\n"
        "- title: Book number 1 | subject: birds\n- title: Book number 2 | subject: birds\n"
        "- title: Book number 3 | subject: birds\n\n"
    )
    assert decode(prompt.suffixes[1]) == "Candidate book: title: Book number 9 | subject: birds" + TAIL
    assert (prompt.summary, prompt.recent[-1]) == (SUMMARY, "title: Book number 3 | subject: birds")


@pytest.mark.parametrize("summary", ["", "  ", "\u200b"])
def test_without_a_summary_and_history_the_prompt_does_not_promise_them(summary):
    prompt = make_prompts().build(summary, [], ["b9"])
    assert decode(prompt.prefix).endswith("answer with one word, yes or no.<|im_end|>\n<|im_start|>user\n")
    assert (prompt.summary, prompt.recent) == ("", ())


def test_no_recent_items_where_none_are_wanted():
    assert make_prompts(recent_items=0).build("", HISTORY, ["b9"]).recent == ()


def test_all_candidates_share_the_prefix_and_end_with_the_same_question():
    prompts = make_prompts()
    together = prompts.build(SUMMARY, HISTORY, ["b7", "b8", "b9"])
    for index, item in enumerate(["b7", "b8", "b9"]):
        alone = prompts.build(SUMMARY, HISTORY, [item])
        assert alone.prefix == together.prefix
        assert alone.suffixes[0] == together.suffixes[index]
        assert decode(together.suffixes[index]).endswith(TAIL)
    assert len(set(together.suffixes)) == 3


def test_training_and_scoring_get_the_same_ids():
    # two builders, as training and scoring each make one, in another order of work
    first, second = make_prompts(), make_prompts()
    second.build("other", ["b5"], ["b4"])
    training = first.build(SUMMARY, HISTORY, ["b8", "b9"])
    scoring = second.build(SUMMARY, HISTORY, ["b9", "b8"])
    assert training.prefix == scoring.prefix
    assert training.suffixes == scoring.suffixes[::-1]


@pytest.mark.parametrize("short_by", [1, 5, 20])
def test_the_oldest_recent_items_give_way_first(short_by):
    prompts = make_prompts(max_tokens=needed() - short_by)
    prompt = prompts.build(SUMMARY, HISTORY, ["b9"])
    assert prompt.recent == ("title: Book number 2 | subject: birds", "title: Book number 3 | subject: birds")
    assert prompt.summary == SUMMARY
    assert prompts.counts.recent_items_dropped == 1
    assert prompts.counts.prompts_with_recent_items_dropped == 1
    assert prompts.counts.summaries_shortened == 0


@pytest.mark.parametrize("short_by", [1, 2, 7, 20])
def test_then_the_end_of_the_summary_gives_way(short_by):
    limit = needed(recent_items=0) - short_by
    prompts = make_prompts(max_tokens=limit)
    prompt = prompts.build(SUMMARY, HISTORY, ["b9"])
    assert prompt.recent == ()
    assert prompt.summary.endswith("…")
    assert SUMMARY.startswith(prompt.summary[:-1])
    assert length(prompt) <= limit
    assert length(prompt) > limit - 20  # no more gave way than a word
    assert prompts.counts.recent_items_dropped == 3
    assert prompts.counts.summaries_shortened == 1


def test_at_last_the_summary_goes_whole_and_is_counted():
    bare = length(make_prompts(recent_items=0).build("", HISTORY, ["b9"]))
    prompts = make_prompts(max_tokens=bare)
    prompt = prompts.build(SUMMARY, HISTORY, ["b9"])
    assert (prompt.summary, prompt.recent) == ("", ())
    assert length(prompt) == bare
    assert prompts.counts.summaries_shortened == 1


def test_a_limit_below_what_is_never_cut_is_refused_with_the_number_needed():
    bare = length(make_prompts(recent_items=0).build("", HISTORY, ["b9"]))
    with pytest.raises(ConfigError) as error:
        make_prompts(max_tokens=bare - 1).build(SUMMARY, HISTORY, ["b9"])
    assert str(error.value) == (
        f"prompt.max_tokens {bare - 1}: instruction, candidate and question alone need {bare} tokens; "
        "raise it or lower prompt.candidate_tokens"
    )


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(340, 700),
    summary=st.text(max_size=300),
    title=st.text(max_size=300),
    recent=st.integers(0, 5),
)
def test_no_prompt_is_above_the_limit_and_candidate_and_question_are_whole(limit, summary, title, recent):
    rows = {**BOOKS, "c": {"title": title, "subject": "birds"}}
    prompts = make_prompts(rows, max_tokens=limit, recent_items=recent, candidate_tokens=90)
    whole = prompts.items.text("c", 90)
    try:
        prompt = prompts.build(summary, HISTORY, ["c", "b1"])
    except ConfigError:
        assert limit < 400
        return
    assert length(prompt) <= limit
    assert decode(prompt.suffixes[0]) == f"Candidate book: {whole}{TAIL}"


@pytest.mark.parametrize("description", ["long " * 10_000, "x" * 50_000, "漢" * 20_000, "👩‍👩‍👧" * 5_000])
def test_a_description_of_50_kb_keeps_the_question_and_its_budget(description):
    rows = {**BOOKS, "c": {"title": "Short", "subject": description}}
    prompts = make_prompts(rows, candidate_tokens=40, item_tokens=20)
    prompt = prompts.build(SUMMARY, ["c"], ["c"])
    text = decode(prompt.suffixes[0])
    assert text.startswith("Candidate book: title: Short")
    assert text.endswith("…" + TAIL)
    assert len(prompt.suffixes[0]) <= 40 + len(CHAT.tokenizer("Candidate book: " + TAIL)["input_ids"])
    assert prompts.items.shortened == {("c", 40), ("c", 20)}


def test_emoji_and_scripts_survive():
    rows = {"c": {"title": "Ü 😀 👩‍👩‍👧 漢字 Ω", "subject": "é"}}
    prompt = make_prompts(rows).build("", [], ["c"])
    assert "title: Ü 😀 👩‍👩‍👧 漢字 Ω | subject: é\n" in decode(prompt.suffixes[0])


def test_an_over_long_summary_keeps_to_its_budget_and_is_counted_once_a_prompt():
    prompts = make_prompts(summary_tokens=20)
    prompt = prompts.build("word " * 500, HISTORY, ["b9"])
    assert prompt.summary == "word word word…"
    for _ in range(2):
        prompts.build("short", HISTORY, ["b9"])
    assert prompts.counts.summaries_shortened == 1
    assert prompts.counts.prompts == 3


def test_counts_are_the_tokens_that_are_scored():
    prompts = make_prompts()
    made = [prompts.build(SUMMARY, HISTORY, ["b8", "b9"]), prompts.build("", HISTORY[:1], ["b7"])]
    counts = prompts.counts.as_dict()
    assert counts == {
        "prompts": 2,
        "candidates": 3,
        "prefix_tokens": sum(len(prompt.prefix) for prompt in made),
        "suffix_tokens": sum(len(suffix) for prompt in made for suffix in prompt.suffixes),
        "longest_prompt": length(made[0]),
        "prompts_shortened": 0,
        "summaries_shortened": 0,
        "prompts_with_recent_items_dropped": 0,
        "recent_items_dropped": 0,
    }


def test_a_prompt_counts_as_shortened_once_whatever_is_cut_in_it():
    whole = make_prompts()
    whole.build(SUMMARY, HISTORY, ["b8", "b9"])
    assert whole.counts.prompts_shortened == 0
    for limits in ({"item_tokens": 8}, {"candidate_tokens": 8}, {"summary_tokens": 8}, {"max_tokens": needed() - 1}):
        cut = make_prompts(**limits)
        cut.build(SUMMARY, HISTORY, ["b8", "b9"])
        cut.build("", [], ["b7"])
        assert cut.counts.prompts_shortened == 1 + ("candidate_tokens" in limits), limits
    oldest_is_long = BOOKS | {"b0": {"title": "word " * 900, "subject": "birds"}}
    context = make_prompts(rows=oldest_is_long, recent="context", max_tokens=needed() - 1)
    context.build(SUMMARY, HISTORY, ["b9"])
    assert context.counts.prompts_shortened == 0, "older items that nobody asked for are not missing"


def test_a_model_without_chat_template_gets_bos_first_and_the_answer_cue_last():
    chat = ChatFormat(make_tokenizer(template=None, bos=True))
    prompts = make_prompts(chat=chat)
    prompt = prompts.build(SUMMARY, HISTORY, ["b9"])
    assert prompt.prefix[0] == chat.tokenizer.bos_token_id
    assert chat.tokenizer.bos_token_id not in (*prompt.prefix[1:], *prompt.suffixes[0])
    assert decode(prompt.suffixes[0], chat).endswith("yes or no?\n\nAnswer:")
    assert prompts.answers.yes_piece == "Ġyes"


def test_the_answer_words_of_the_template_set_are_asked_for_and_looked_up(tmp_path):
    (tmp_path / "words.yaml").write_text('"yes": "no"\n"no": "yes"\n', encoding="utf-8")
    prompts = RankingPrompts(TemplateSet(str(tmp_path)), make_items(), CHAT, PromptConfig(template=str(tmp_path)))
    assert (
        decode(prompts.build("", [], ["b1"]).suffixes[0])
        .rstrip()
        .endswith("no or yes?<|im_end|>\n<|im_start|>assistant")
    )
    assert prompts.answers.yes_piece == "no"


def test_recent_items_fill_the_budget_of_a_summary_and_never_more():
    history = [f"b{n}" for n in range(12)]
    shown = make_prompts(recent="budget", recent_items=2, item_tokens=40, summary_tokens=60)
    tokens = shown.items.tokens(history)
    taken = shown.recent(history)
    assert history[-len(taken) :] == taken
    assert len(taken) > 2
    assert sum(tokens[-len(taken) :]) <= 2 * 40 + 60 < sum(tokens[-len(taken) - 1 :])
    assert len(shown.build("", history, ["b9"]).recent) == len(taken)
    assert shown.recent([]) == []


def test_the_whole_history_is_shown_as_far_as_the_prompt_has_room():
    history = [f"b{n}" for n in range(12)]
    assert len(make_prompts(recent="context").build("", history, ["b9"]).recent) == 12
    tight = make_prompts(recent="context", max_tokens=400)
    prompt = tight.build("", history, ["b9"])
    assert 1 <= len(prompt.recent) < 12
    assert (
        length(prompt)
        <= 400
        < length(make_prompts(recent="items", recent_items=len(prompt.recent) + 1).build("", history, ["b9"]))
    )
    assert tight.counts.recent_items_dropped == tight.counts.prompts_with_recent_items_dropped == 0


def silent_set(folder):
    TemplateSet("books").save(folder)
    (folder / "rank_candidate.j2").write_text("{{ candidate }}", encoding="utf-8")
    return TemplateSet(str(folder))


def test_levels_of_popularity_and_the_setting_go_together(tmp_path):
    config = PromptConfig(template="books", popularity_levels=5)
    templates, items = TemplateSet("books"), make_items()
    told = RankingPrompts(templates, items, CHAT, config, {"b8": 4}).build("", HISTORY, ["b8", "b9"])
    assert decode(told.suffixes[0]).startswith("Candidate book, popularity 4 of 5: title: Book number 8")
    assert decode(told.suffixes[1]).startswith("Candidate book, popularity 1 of 5: title: Book number 9")
    with pytest.raises(ConfigError, match=r"rank_candidate\.j2 shows no popularity; write \{\{ popularity \}\}"):
        RankingPrompts(silent_set(tmp_path), items, CHAT, config, {})
    for settings_, levels in ((config, None), (PromptConfig(template="books"), {"b8": 4})):
        with pytest.raises(ConfigError, match="popularity_levels and levels of the items go together"):
            RankingPrompts(templates, items, CHAT, settings_, levels)
