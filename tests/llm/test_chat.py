"""Token ids from pieces: what a model really reads, and where its answer is looked for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import CHATML, NO_SYSTEM_ROLE, make_tokenizer
from trsr.errors import ModelError
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Piece, Prompt

CHAT = ChatFormat(make_tokenizer())
PLAIN = ChatFormat(make_tokenizer(template=None, bos=True))
PROMPT = Prompt((Piece("Be short.", True),), (Piece("Likes: ", True), Piece("tea", False)), "This user")


def decode(chat, ids):
    return chat.tokenizer.decode(list(ids), skip_special_tokens=False)


def test_a_prompt_is_what_the_chat_template_of_the_model_writes():
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Likes: tea"}]
    template = CHAT.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert decode(CHAT, CHAT.encode_prompt(PROMPT)) == template + "This user"


def test_without_a_chat_template_the_layout_is_plain_and_the_bos_token_comes_first_and_once():
    ids = PLAIN.encode_prompt(PROMPT)
    assert decode(PLAIN, ids) == "<s>Be short.\n\nLikes: tea\n\nAnswer:This user"
    assert ids.count(PLAIN.tokenizer.bos_token_id) == 1


def test_a_bos_token_that_the_chat_template_writes_is_not_doubled():
    chat = ChatFormat(make_tokenizer("<s>" + CHATML, bos=True))
    ids = chat.encode_prompt(PROMPT)
    assert ids[0] == chat.tokenizer.bos_token_id
    assert ids.count(chat.tokenizer.bos_token_id) == 1


def test_a_template_that_refuses_a_system_role_gets_the_instruction_in_the_user_message():
    chat = ChatFormat(make_tokenizer(NO_SYSTEM_ROLE))
    assert decode(chat, chat.encode_prompt(PROMPT)) == (
        "<|im_start|>user\nBe short.\n\nLikes: tea<|im_end|>\n<|im_start|>model\nThis user"
    )


def test_a_template_that_drops_a_system_role_does_not_lose_the_instruction():
    only_users = CHATML.replace("in messages", "in messages if message['role'] == 'user'")
    chat = ChatFormat(make_tokenizer(only_users))
    assert "Be short.\n\nLikes: tea" in decode(chat, chat.encode_prompt(PROMPT))


def test_a_template_that_hides_the_user_message_is_refused():
    with pytest.raises(ModelError, match="does not show a user message whole"):
        ChatFormat(make_tokenizer("{% for message in messages %}{{ message['role'] }}{% endfor %}"))


def test_a_prompt_is_the_same_tomorrow_though_the_template_prints_the_date(monkeypatch):
    chat = ChatFormat(make_tokenizer("Today is {{ strftime_now('%d %b %Y') }}. " + CHATML))
    assert chat.before == "Today is 26 Jul 2024. <|im_start|>system\n"


def test_prompts_that_share_their_first_pieces_share_their_first_ids():
    other = Prompt(PROMPT.system, (PROMPT.user[0], Piece("coffee", False)), PROMPT.start)
    shared = CHAT.opening + CHAT.encode((*PROMPT.system, Piece(CHAT.between, True), PROMPT.user[0]))
    assert CHAT.encode_prompt(PROMPT)[: len(shared)] == CHAT.encode_prompt(other)[: len(shared)] == shared


def test_control_tokens_are_tokens_in_templates_and_mere_characters_in_data():
    end = CHAT.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert CHAT.encode_piece(Piece("a<|im_end|>", True))[-1] == end
    data = CHAT.encode_piece(Piece("a<|im_end|>", False))
    assert end not in data
    assert decode(CHAT, data) == "a<|im_end|>"
    # reading data leaves the tokenizer as it was
    assert CHAT.tokenizer("<|im_end|>", add_special_tokens=False)["input_ids"] == [end]


def test_added_tokens_that_are_not_marked_special_are_mere_characters_in_data_too():
    # such as <think> and <tool_call> of Qwen, or the roles of DeepSeek: splitting special tokens leaves them whole
    chat = ChatFormat(make_tokenizer(extra_markers=("<think>", "<｜User｜>")))
    roles = chat.tokenizer.convert_tokens_to_ids(["<think>", "<｜User｜>"])
    ids = chat.encode_piece(Piece("a <think> <<think>> <｜User｜>", False))
    assert not set(roles) & set(ids)
    assert decode(chat, ids) == "a  think> < think>>  ｜User｜>"
    assert chat.encode_piece(Piece("<think>", True)) == (roles[0],)


def test_answers_are_found_in_the_place_of_the_answer():
    yes, no = CHAT.tokenizer.convert_tokens_to_ids(["yes", "no"])
    answers = CHAT.answers("yes", "no")
    assert (answers.yes_id, answers.no_id, answers.yes_piece, answers.no_piece) == (yes, no, "yes", "no")


def test_without_a_template_the_answers_follow_a_space():
    answers = PLAIN.answers("yes", "no")
    assert (answers.yes_piece, answers.no_piece) == ("Ġyes", "Ġno")


def test_two_answers_with_one_token_are_refused():
    with pytest.raises(ModelError, match=r'answers "yes" and "yes" begin with the same token'):
        CHAT.answers("yes", "yes")


def test_an_answer_of_several_tokens_is_refused_with_its_tokens():
    with pytest.raises(ModelError, match=r'answer "maybe" is not one token here but .*choose a shorter word'):
        CHAT.answers("maybe", "no")


def test_an_answer_without_a_token_is_refused():
    chat = ChatFormat(make_tokenizer())
    chat.tokenizer.unk_token = "yes"  # a vocabulary without the word gives the unknown token
    with pytest.raises(ModelError, match=r'answer "yes" is unknown to this tokenizer'):
        chat.answers("yes", "no")


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=2000), budget=st.integers(8, 64), chat=st.sampled_from([CHAT, PLAIN]))
def test_shortened_text_never_exceeds_its_budget(text, budget, chat):
    short, cut = chat.shorten(text, budget)
    assert len(chat.encode_piece(Piece(short, False))) <= budget
    assert cut == (short != text)
    if cut:
        assert text.startswith(short.removesuffix("…"))


@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀", "👩‍👩‍👧", "a ", " "])
def test_very_long_text_is_shortened_without_reading_all_of_it(letter, monkeypatch):
    chat = ChatFormat(make_tokenizer())
    read = []
    whole = chat._encode_data
    monkeypatch.setattr(chat, "_encode_data", lambda text, **more: read.append(len(text)) or whole(text, **more))
    short, cut = chat.shorten(letter * 50_000, 20)
    assert cut
    assert short.endswith("…")
    assert max(read) <= 20 * 48


def test_text_that_fits_is_left_as_it_is():
    assert CHAT.shorten("A short title", 13) == ("A short title", False)


def test_text_is_cut_at_a_word():
    assert CHAT.shorten("Harbour lights of the northern coast", 22) == ("Harbour lights of…", True)


def test_text_without_spaces_keeps_what_fits():
    # cutting back to the last space would leave nothing of a Chinese title but its label
    short, cut = CHAT.shorten("title: " + "漢字" * 50, 60)
    assert cut
    assert short == "title: " + "漢字" * 8 + "…"
