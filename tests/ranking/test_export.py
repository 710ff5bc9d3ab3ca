"""Exports: what other programs load from them scores as the ranker does, and reads the same ids."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from tiny import CHATML, NO_SYSTEM_ROLE, make_model, make_tokenizer, randomise, save_folder
from trsr.config import DataConfig, PromptConfig, RankerConfig
from trsr.data.dataset import Dataset
from trsr.errors import ConfigError, ModelError
from trsr.llm.chat import ChatFormat
from trsr.llm.weights import load_tokenizer, resolve_weights
from trsr.prompts.items import ItemTexts
from trsr.prompts.ranking import RankingPrompts
from trsr.prompts.templates import TemplateSet
from trsr.ranking.export import export_cross_encoder, export_folder, export_merged
from trsr.ranking.pairs import BORDER, pair_ids, pair_texts, pair_tokenizer, prompt_texts
from trsr.ranking.ranker import Ranker

BOOKS = [
    {"title": "Sea birds", "subject": "birds of the sea, and where they live when they are not at sea"},
    {"title": "Old boats", "subject": None},
    {"title": "Øl: «brød» & 東京", "subject": "<b>food</b>"},
    {"title": "  '70s lamps!  ", "subject": "light"},
]
HISTORY = [{"title": "Whales", "subject": "sea"}, {"title": "Ropes", "subject": None}]
SUMMARY = "Likes the sea, less so lamps."


def make_ranker(folder, model=None, tokenizer=None, **prompt):
    tokenizer = make_tokenizer() if tokenizer is None else tokenizer
    model = make_model("llama", vocabulary=len(tokenizer)) if model is None else model
    base = RankerConfig(base=str(save_folder(folder, model, tokenizer)), dtype="float32")
    settings = {"max_tokens": 1024, "template": "books", "summary_tokens": 64} | prompt
    return Ranker.from_base(base, PromptConfig(**settings), ["title", "subject"])


def tune(ranker, modules=("q_proj", "v_proj")):
    """The ranker with an adapter that changes its scores by far more than the tests allow."""
    model = get_peft_model(ranker.model, LoraConfig(target_modules=list(modules), task_type="CAUSAL_LM"))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.2, generator=generator)
    return ranker.with_model(model.eval())


def scores_of(ranker, history=HISTORY, candidates=BOOKS, summary=SUMMARY):
    ranked = ranker.rank(history, candidates, summary)
    return np.array([entry.log_odds for entry in sorted(ranked, key=lambda entry: entry.index)])


def prompt_ids(ranker, history=HISTORY, candidates=BOOKS, summary=SUMMARY):
    rows = {str(place): {"subject": None} | item for place, item in enumerate([*history, *candidates])}
    ids = list(rows)
    prompt = ranker.prompts(rows).build(summary, ids[: len(history)], ids[len(history) :])
    return [prompt.prefix + suffix for suffix in prompt.suffixes]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return tune(make_ranker(tmp_path_factory.mktemp("base") / "model"))


@pytest.fixture(scope="module")
def encoder_folder(tuned, tmp_path_factory):
    return export_cross_encoder(tuned, tmp_path_factory.mktemp("export") / "encoder")


@pytest.fixture(scope="module")
def encoder(encoder_folder):
    return CrossEncoder(str(encoder_folder), device="cpu")


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt_neox", "gemma"])
def test_merged_weights_score_as_the_ranker_does_and_need_no_adapter(tmp_path, family):
    tokenizer = make_tokenizer()
    model = make_model(family, vocabulary=len(tokenizer))
    base = make_ranker(tmp_path / "base", model, tokenizer)
    untuned = scores_of(base)
    ranker = tune(base, ["query_key_value"] if family == "gpt_neox" else ["q_proj", "v_proj"])
    folder = export_merged(ranker, tmp_path / "merged")
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    assert not [name for name in names if "adapter" in name]
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert type(plain) is type(model)
    assert AutoTokenizer.from_pretrained(folder).chat_template == CHATML
    yes, no = ranker.answers.yes_id, ranker.answers.no_id
    with torch.no_grad():
        logits = [plain(torch.tensor([ids])).logits[0, -1] for ids in prompt_ids(ranker)]
    np.testing.assert_allclose([float(row[yes] - row[no]) for row in logits], scores_of(ranker), atol=1e-4)
    assert np.abs(scores_of(ranker) - untuned).max() > 0.01  # it would show if the adapter were left out


def test_an_export_leaves_the_ranker_as_it_is(tmp_path):
    ranker = tune(make_ranker(tmp_path / "base"))
    before = {name: value.clone() for name, value in ranker.model.state_dict().items()}
    scores = scores_of(ranker)
    export_merged(ranker, tmp_path / "merged", "bfloat16")
    export_cross_encoder(ranker, tmp_path / "encoder", "float16")
    after = ranker.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in before.items())
    assert scores_of(ranker).tolist() == scores.tolist()


def test_weights_are_rounded_once_at_the_end(tuned, tmp_path):
    saved = tuned.save_pretrained(tmp_path / "ranker")
    exact = load_file(export_merged(tuned, tmp_path / "exact") / "model.safetensors")
    result = export_folder(saved, tmp_path / "half", "merged", dtype="bfloat16")
    assert result == {"folder": str(tmp_path / "half"), "format": "merged", "dtype": "bfloat16"}
    rounded = load_file(tmp_path / "half" / "model.safetensors")
    assert rounded.keys() == exact.keys()
    for name, value in exact.items():
        assert torch.equal(rounded[name], value.to(torch.bfloat16)), name
    assert json.loads((tmp_path / "half" / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"


def test_a_ranker_without_an_adapter_needs_no_merging(tmp_path):
    ranker = make_ranker(tmp_path / "base")
    model = CrossEncoder(str(export_cross_encoder(ranker, tmp_path / "encoder")), device="cpu")
    scores = model.predict(pair_texts(ranker, HISTORY, BOOKS, SUMMARY).pairs)
    np.testing.assert_allclose(scores, scores_of(ranker), atol=1e-4)


@pytest.mark.filterwarnings("ignore:Model .* `tie_word_embeddings=True`:UserWarning")
def test_a_merge_that_changes_scores_is_refused_and_leaves_nothing(tmp_path):
    tokenizer = make_tokenizer()
    base = make_ranker(tmp_path / "base", make_model("qwen2", vocabulary=len(tokenizer)), tokenizer)
    ranker = tune(base, ["lm_head"])
    with pytest.raises(ModelError, match=r"^export: merging the adapter changes the scores, .*lora_modules$"):
        export_merged(ranker, tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_quantised_weights_are_refused(tmp_path):
    ranker = make_ranker(tmp_path / "base")
    ranker.model.is_quantized = True
    with pytest.raises(ModelError, match=r"are quantised here, .*; tune without quantization$"):
        export_merged(ranker, tmp_path / "merged")


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt_neox"])
@pytest.mark.parametrize(("template", "bos"), [(CHATML, False), (NO_SYSTEM_ROLE, False), (None, True), (None, False)])
def test_cross_encoder_gives_the_scores_of_the_ranker(tmp_path, family, template, bos):
    tokenizer = make_tokenizer(template, bos)
    base = make_ranker(tmp_path / "base", make_model(family, vocabulary=len(tokenizer)), tokenizer)
    ranker = tune(base, ["query_key_value"] if family == "gpt_neox" else ["q_proj", "v_proj"])
    model = CrossEncoder(str(export_cross_encoder(ranker, tmp_path / "encoder")), device="cpu")
    for history, summary in ((HISTORY, SUMMARY), ([], SUMMARY), (HISTORY, ""), ([], "")):
        texts = pair_texts(ranker, history, BOOKS, summary)
        expected = scores_of(ranker, history, BOOKS, summary)
        np.testing.assert_allclose(model.predict(texts.pairs), expected, atol=1e-4)
        ids = [pair_ids(model.tokenizer, *pair) for pair in texts.pairs]
        assert ids == prompt_ids(ranker, history, BOOKS, summary)


def test_rank_of_cross_encoder_is_the_ranking_of_the_ranker(tuned, encoder):
    texts = pair_texts(tuned, HISTORY, BOOKS, SUMMARY)
    ranked = encoder.rank(texts.user, texts.candidates)
    assert [entry["corpus_id"] for entry in ranked] == [entry.index for entry in tuned.rank(HISTORY, BOOKS, SUMMARY)]


def test_log_odds_of_half_precision_do_not_tie(tuned, tmp_path):
    """In bfloat16 the values near 1 are 0.008 apart, and many candidates would share them."""
    model = CrossEncoder(str(export_cross_encoder(tuned, tmp_path / "encoder", "bfloat16")), device="cpu")
    books = [{"title": f"Book number {number}"} for number in range(40)]
    scores = model.predict(pair_texts(tuned, HISTORY, books, SUMMARY).pairs)
    assert model.dtype == torch.bfloat16
    assert len(set(scores.tolist())) > 35
    np.testing.assert_allclose(scores, scores_of(tuned, HISTORY, books), atol=0.3)


def test_nothing_is_cut_of_a_text_that_is_too_long(tuned, encoder):
    short, long = "Likes the sea.", "Likes the sea. " * 200
    whole, cut = (pair_ids(encoder.tokenizer, text, "title: Sea birds") for text in (long, short))
    features = encoder.preprocess([(long, "title: Sea birds"), (short, "title: Sea birds")])
    assert len(whole) > tuned.prompt.max_tokens
    assert tuple(features["input_ids"][0].tolist()) == whole
    assert tuple(features["input_ids"][1][-len(cut) :].tolist()) == cut
    assert features["attention_mask"].sum(1).tolist() == [len(whole), len(cut)]


def test_where_a_user_asks_for_truncation_candidate_and_question_stay(encoder):
    pair = ("Likes the sea. " * 200, "title: Sea birds")
    features = encoder.preprocess([pair], processing_kwargs={"text": {"truncation": True, "max_length": 120}})
    assert tuple(features["input_ids"][0].tolist()) == pair_ids(encoder.tokenizer, *pair)[-120:]
    assert "title: Sea birds\nChosen next, yes or no?" in encoder.tokenizer.decode(features["input_ids"][0])


def test_a_prompt_of_sentence_transformers_is_refused(encoder):
    with pytest.raises(Exception, match="give pairs of texts, user and candidate, and no prompt"):
        encoder.predict([("a", "b")], prompt="Rank these")


WORDS = st.sampled_from(
    ["<s>", "<|im_end|>", "<im>", "[X]", "\n", " ", "Candidate book: ", BORDER, "yes", "'s", "e\u0301"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.one_of(WORDS, st.text(max_size=12)), max_size=6).map("".join), min_size=3, max_size=3))
def test_any_text_gives_the_ids_of_the_ranker(texts):
    """Control tokens too: those that a tokenizer knows and that no rule for inert text names."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<im>", "[X]"]})
    chat, templates = ChatFormat(tokenizer), TemplateSet("books")
    rows = {str(place): {"title": text} for place, text in enumerate(texts)}
    items = ItemTexts(rows, ["title"], templates, chat)
    prompts = RankingPrompts(templates, items, chat, PromptConfig(template="books"))
    prompt = prompts.build(texts[0], ["0", "1"], ["2"])
    pair = prompt_texts(prompts, texts[0], ["0", "1"], ["2"]).pairs[0]
    assert pair_ids(pair_tokenizer(chat, templates, 2048), *pair) == prompt.prefix + prompt.suffixes[0]


def test_data_cannot_write_a_control_token_of_any_kind():
    """Tokens that are added and not special: the ranker loses their first character, here they are parted."""
    tokenizer = make_tokenizer(extra_markers=("<tool>",))
    chat, templates = ChatFormat(tokenizer), TemplateSet("books")
    items = ItemTexts({"a": {"title": "x <tool> y"}}, ["title"], templates, chat)
    prompts = RankingPrompts(templates, items, chat, PromptConfig(template="books"))
    pair = prompt_texts(prompts, "", ["a"], ["a"]).pairs[0]
    ids = pair_ids(pair_tokenizer(chat, templates, 2048), *pair)
    assert tokenizer.convert_tokens_to_ids("<tool>") not in ids
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "template"), [("movielens_small3", "films"), ("amazon18_industrial", "shop")], ids=["films", "products"]
)
def test_real_texts_and_a_real_tokenizer_give_the_same_ids(shared, data, template):
    chat, templates = ChatFormat(load_tokenizer(resolve_weights("smollm2-135m-instruct"))), TemplateSet(template)
    dataset = Dataset.from_folder(shared / "data" / data, DataConfig(path=shared / "data" / data), 7)
    rows = {row["item_id"]: row for row in dataset.items.iter_rows(named=True)}
    items = ItemTexts(rows, dataset.attributes, templates, chat)
    prompts = RankingPrompts(templates, items, chat, PromptConfig(template=template))
    tokenizer, names = pair_tokenizer(chat, templates, 2048), list(rows)
    random = np.random.default_rng(7)
    for _ in range(100):
        history, candidates = (random.choice(names, count).tolist() for count in (4, 5))
        request = (f"Likes {items.whole(history[0])[:200]}", history, candidates)
        prompt, texts = prompts.build(*request), prompt_texts(prompts, *request)
        assert [pair_ids(tokenizer, *pair) for pair in texts.pairs] == [
            prompt.prefix + suffix for suffix in prompt.suffixes
        ]


def test_texts_keep_to_the_budgets_of_the_ranker(tmp_path):
    ranker = make_ranker(tmp_path / "base", max_tokens=512, candidate_tokens=32, recent_items=2)
    books = [{"title": f"Book {number} " + "of many words " * 20} for number in range(5)]
    texts = pair_texts(ranker, books, books, SUMMARY * 30)
    tokenizer = pair_tokenizer(ranker.chat, ranker.templates, 512)
    ids = [pair_ids(tokenizer, *pair) for pair in texts.pairs]
    assert ids == prompt_ids(ranker, books, books, SUMMARY * 30)
    assert max(map(len, ids)) <= 512
    assert texts.candidates[0].endswith("…")


def test_texts_of_no_candidates_or_of_strange_items_are_refused(tuned, tmp_path):
    with pytest.raises(ConfigError, match=r"^pair_texts: no candidates given$"):
        pair_texts(tuned, HISTORY, [])
    with pytest.raises(ConfigError, match=r"^pair_texts: an item has none of the attributes title, subject$"):
        pair_texts(tuned, HISTORY, [{"name": "Sea"}])
    with pytest.raises(ConfigError, match=r"^pair_texts: this ranker shows item ids"):
        pair_texts(make_ranker(tmp_path / "base", show_ids=True), HISTORY, BOOKS)


@pytest.mark.parametrize("export", [export_merged, export_cross_encoder])
def test_a_place_that_is_taken_is_refused_and_an_empty_one_is_not(tuned, tmp_path, export):
    place = tmp_path / "place"
    place.mkdir()
    export(tuned, place)
    assert (place / "model.safetensors").is_file()
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for taken in (place, tmp_path / "file"):
        with pytest.raises(ConfigError, match=f"^{taken}: exists and is not an empty folder; choose another place$"):
            export(tuned, taken)
    with pytest.raises(ConfigError, match=r"^export: no dtype 'int8'; take float32, bfloat16, float16$"):
        export(tuned, tmp_path / "new", "int8")


@pytest.mark.parametrize("export", [export_merged, export_cross_encoder])
def test_an_export_that_fails_leaves_nothing(tuned, tmp_path, monkeypatch, export):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trsr.ranking.export._write", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
        export(tuned, tmp_path / "place")
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_that_reads_one_string_otherwise_is_refused(tmp_path):
    """As those that put a space before a text, which is before every piece for the ranker."""
    tokenizer = make_tokenizer(None)
    core = tokenizer.backend_tokenizer
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="Ġ", prepend_scheme="first", split=False)
    ranker = make_ranker(tmp_path / "base", tokenizer=tokenizer)
    with pytest.raises(ModelError, match="reads a prompt in one string otherwise than in pieces; export it as merged"):
        export_cross_encoder(ranker, tmp_path / "encoder")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    ranker = make_ranker(tmp_path / "base", tokenizer=tokenizer)
    with pytest.raises(ModelError, match=r"^crossencoder: the ranker's tokenizer has no token to pad with;"):
        export_cross_encoder(ranker, tmp_path / "encoder")


def test_a_model_that_left_padding_changes_is_refused(tuned, tmp_path):
    vocabulary = len(tuned.chat.tokenizer)
    settings = GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=4096)
    ranker = tuned.with_model(randomise(GPT2LMHeadModel(settings)))
    with pytest.raises(ModelError, match=r"^crossencoder: GPT2LMHeadModel scores a prompt otherwise when it is padded"):
        export_cross_encoder(ranker, tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


def test_cards_say_where_it_comes_from_and_which_answers_count(tuned, encoder_folder, tmp_path):
    card = (encoder_folder / "README.md").read_text(encoding="utf-8")
    assert "library_name: sentence-transformers\npipeline_tag: text-ranking\n" in card
    assert f"base_model: {tuned.weights.name}\n" in card
    assert "`books`" in card
    merged = (export_merged(tuned, tmp_path / "merged") / "README.md").read_text(encoding="utf-8")
    assert "`yes` (id 257) less that of `no` (id 258)" in merged
