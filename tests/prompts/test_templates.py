"""Template sets: the shipped ones work, a user's own files replace them, mistakes name the file."""

import pytest

from trsr.errors import ConfigError
from trsr.llm.protocol import Piece
from trsr.prompts.templates import LINES, SHIPPED, TemplateSet

SETS = ("books", "films", "generic", "news", "shop")
PARTS = {
    "rank_system": {},
    "rank_summary": {"summary": "S"},
    "rank_recent": {"recent": ["R1", "R2"]},
    "rank_candidate": {"candidate": "C"},
    "rank_question": {},
    "summary_system": {},
    "summary_start": {},
    "summary_block": {"texts": ["T1", "T2"]},
    "summary_update": {"summary": "S", "texts": ["T1", "T2"]},
    "summary_merge": {"texts": ["T1", "T2"]},
    "structured_system": {},
    "structured_block": {"texts": ["T1", "T2"]},
    "structured_update": {"summary": "S", "texts": ["T1", "T2"]},
    "structured_merge": {"texts": ["T1", "T2"]},
}


@pytest.fixture
def own(tmp_path):
    (tmp_path / "words.yaml").write_text('item: "game"\n', encoding="utf-8")
    return tmp_path


def data_of(pieces):
    return [piece.text for piece in pieces if not piece.trusted]


def test_the_shipped_sets_are_these():
    assert tuple(sorted(path.name for path in SHIPPED.iterdir())) == SETS


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", SETS)
def test_every_shipped_part_renders_and_shows_all_of_its_data(name, part):
    pieces = TemplateSet(name).pieces(part, PARTS[part])
    expected = [entry for value in PARTS[part].values() for entry in (value if isinstance(value, list) else [value])]
    assert data_of(pieces) == expected
    assert not any("\ue0a1" in piece.text or "{" in piece.text for piece in pieces)


@pytest.mark.parametrize(
    ("name", "opening"),
    [
        ("books", "Candidate book: "),
        ("films", "Candidate film: "),
        ("generic", "Candidate item: "),
        ("news", "Candidate article: "),
        ("shop", "Candidate product: "),
    ],
)
def test_each_set_speaks_of_its_own_domain(name, opening):
    assert TemplateSet(name).pieces("rank_candidate", {"candidate": "x"})[0] == Piece(opening, True)
    assert (TemplateSet(name).yes, TemplateSet(name).no) == ("yes", "no")


def test_the_pieces_of_a_part_are_its_text_in_order():
    pieces = TemplateSet("generic").pieces("rank_recent", {"recent": ["one", "two"]})
    assert pieces == (
        Piece("Latest items the user chose, oldest first:\n- ", True),
        Piece("one", False),
        Piece("\n- ", True),
        Piece("two", False),
        Piece("\n\n", True),
    )


def test_a_folder_replaces_single_words_and_files_and_takes_the_rest_from_generic(own):
    (own / "rank_question.j2").write_text("Play this {{ item }}?", encoding="utf-8")
    mine = TemplateSet(str(own))
    assert mine.text("rank_question") == "Play this game?"
    assert mine.text("rank_candidate", candidate="X") == "Candidate game: X\n"
    assert mine.text("rank_system") == TemplateSet("generic").text("rank_system")


def test_data_with_template_syntax_is_not_evaluated():
    for text in ("{{ 7*7 }}", "{% for x in range(3) %}x{% endfor %}", "{{ yes }}", "{# c #}"):
        pieces = TemplateSet("generic").pieces("rank_candidate", {"candidate": text})
        assert data_of(pieces) == [text]
        assert TemplateSet("generic").text("item", attributes=[("title", text)]) == f"title: {text}"


def test_data_that_looks_like_a_placeholder_is_not_taken_for_one():
    data = {"recent": ["\ue0a11\ue0a1", "secret"]}
    assert data_of(TemplateSet("generic").pieces("rank_recent", data)) == ["\ue0a11\ue0a1", "secret"]


def test_an_unknown_set_is_refused_with_the_shipped_ones():
    with pytest.raises(
        ConfigError, match=r'template "films2": neither a shipped set \(books, films, generic, news, shop\)'
    ):
        TemplateSet("films2")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ candidat }}", "'candidat' is undefined"),
        ("{% for %}", "Expected an expression"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ candidate + 1 }}", "can only concatenate str"),
        ("{% include 'missing.j2' %}", "missing.j2"),
    ],
)
def test_a_mistake_in_a_template_names_the_file(own, source, why):
    (own / "rank_candidate.j2").write_text(source, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        TemplateSet(str(own)).pieces("rank_candidate", {"candidate": "x"})
    assert str(error.value).startswith(f"template {own}/rank_candidate.j2: ")
    assert why in str(error.value)


def test_a_template_that_is_not_utf8_names_the_file(own):
    (own / "rank_question.j2").write_bytes(b"caf\xe9?")
    with pytest.raises(ConfigError, match=r"rank_question.j2: 'utf-8' codec can't decode"):
        TemplateSet(str(own)).text("rank_question")


@pytest.mark.parametrize("words", ["yes: yes\nno: no\n", "item: 5\n", "- item\n", "item\n", "", "item: [a]\n"])
def test_words_that_are_not_text_are_refused_with_the_remedy(own, words):
    (own / "words.yaml").write_text(words, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        TemplateSet(str(own))
    assert str(error.value) == (
        f'{own}/words.yaml: every line must be `word: "text"`, both in quotes where YAML would read yes or no'
    )


@pytest.mark.parametrize("content", [b"item: 'open\n", b"item: caf\xe9\n", b"a: b: c\n"])
def test_words_that_are_not_yaml_are_one_sentence(own, content):
    (own / "words.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        TemplateSet(str(own))
    assert str(error.value).startswith(f"{own}/words.yaml: not readable as YAML: ")
    assert "\n" not in str(error.value)


def test_the_lines_of_a_structured_summary_are_named_by_the_set(own):
    assert list(TemplateSet("shop").form.values()) == ["likes", "dislikes", "brands", "price", "recently"]
    words = 'line_likes: "mag"\nline_dislikes: ""\nline_topics: "Themen"\nline_change: "neu"\n'
    (own / "words.yaml").write_text(words, encoding="utf-8")
    mine = TemplateSet(str(own))
    assert mine.form == {"likes": "mag", "topics": "Themen", "change": "neu"}
    assert mine.text("structured_block", texts=[]).endswith("one line each for: mag, Themen, neu.")


@pytest.mark.parametrize("words", ['line_topics: "Likes"\n', "".join(f'line_{line}: ""\n' for line in LINES)])
def test_lines_that_cannot_be_told_apart_are_refused(own, words):
    (own / "words.yaml").write_text(words, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"words\.yaml: the words line_\.\.\. name no line or one twice"):
        TemplateSet(str(own)).text("structured_system")


def test_function_words_and_refusals_are_those_of_the_language(own):
    words = 'function_words: "der die UND"\nrefusals: "Es tut mir leid; ich kann nicht;"\n'
    (own / "words.yaml").write_text(words, encoding="utf-8")
    mine = TemplateSet(str(own))
    assert mine.function_words == {"der", "die", "und"}
    assert mine.refusals == ("Es tut mir leid", "ich kann nicht")


def test_a_word_named_like_the_data_does_not_hide_the_data(own):
    (own / "words.yaml").write_text('candidate: "nobody"\n', encoding="utf-8")
    assert data_of(TemplateSet(str(own)).pieces("rank_candidate", {"candidate": "X"})) == ["X"]


@pytest.mark.parametrize("name", SETS)
def test_a_saved_set_needs_nothing_else(name, tmp_path, monkeypatch):
    # a model folder is used years later, by a trsr whose shipped words have changed
    before = TemplateSet(name)
    expected = {part: before.pieces(part, data) for part, data in PARTS.items()}
    before.save(tmp_path / "saved")
    shipped = tmp_path / "shipped"
    (shipped / "generic").mkdir(parents=True)
    (shipped / "generic" / "words.yaml").write_text('item: "other"\n"yes": "ja"\n', encoding="utf-8")
    monkeypatch.setattr("trsr.prompts.templates.SHIPPED", shipped)
    after = TemplateSet(str(tmp_path / "saved"))
    assert {part: after.pieces(part, data) for part, data in PARTS.items()} == expected
    assert (after.yes, after.no) == ("yes", "no")


def test_a_saved_folder_set_keeps_its_own_files(own, tmp_path):
    (own / "rank_question.j2").write_text("Play this {{ item }}?", encoding="utf-8")
    TemplateSet(str(own)).save(tmp_path / "saved")
    assert TemplateSet(str(tmp_path / "saved")).text("rank_question") == "Play this game?"
