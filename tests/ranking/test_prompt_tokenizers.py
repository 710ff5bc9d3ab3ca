"""Prompts by tokenizers of all kinds: what a tokenizer does to batches of texts must not reach the scores."""

import pytest
import torch
from slow_way import assert_same_log_odds, slow_log_odds

from tiny import CHATML, NO_SYSTEM_ROLE, make_model, make_tokenizer, save_folder
from trsr.config import PromptConfig, RankerConfig
from trsr.ranking.ranker import Ranker

ITEMS = {
    "a": {"title": "Sea birds of the north", "subject": "sea"},
    "b": {"title": "Old boats", "subject": None},
    "c": {"title": "Green lamps", "subject": "homes"},
}
SUMMARY = "Likes the sea"


def make_ranker(folder, tokenizer, **settings):
    save_folder(folder, make_model("llama"), tokenizer)
    config = RankerConfig(base=str(folder), dtype="float32", **settings)
    return Ranker.from_base(config, PromptConfig(), ["title", "subject"])


def scores_of(ranker, summary=SUMMARY, history=("a",), candidates=("b", "c", "a")):
    prompt = ranker.prompts(ITEMS).build(summary, history, candidates)
    scores = torch.from_numpy(ranker.log_odds(prompt))
    with torch.no_grad():
        whole = [[*prompt.prefix, *suffix] for suffix in prompt.suffixes]
        logits = torch.stack([ranker.model(torch.tensor([ids])).logits[0, -1] for ids in whole])
    assert_same_log_odds(scores, logits[:, ranker.answers.yes_id] - logits[:, ranker.answers.no_id])
    return prompt, scores


@pytest.mark.parametrize("template", [CHATML, None], ids=["chat", "plain"])
@pytest.mark.parametrize("bos", [False, True], ids=["no bos", "bos"])
def test_padding_sides_and_pad_tokens_change_neither_ids_nor_scores(tmp_path, template, bos):
    results = []
    for number, (side, pad) in enumerate([("left", None), ("right", None), ("left", "<s>"), ("right", "<|im_end|>")]):
        tokenizer = make_tokenizer(template, bos)
        tokenizer.padding_side = tokenizer.truncation_side = side
        tokenizer.pad_token = pad
        results.append(scores_of(make_ranker(tmp_path / str(number), tokenizer)))
    for prompt, scores in results[1:]:
        assert prompt == results[0][0]
        assert torch.equal(scores, results[0][1])


@pytest.mark.parametrize("template", [CHATML, NO_SYSTEM_ROLE, None], ids=["chat", "no system role", "plain"])
@pytest.mark.parametrize("bos", [False, True], ids=["no bos", "bos"])
@pytest.mark.parametrize("summary", [SUMMARY, ""], ids=["summary", "no summary"])
@pytest.mark.parametrize("history", [("a",), ()], ids=["recent", "no recent"])
def test_every_kind_of_prompt_is_scored_as_if_alone(tmp_path, template, bos, summary, history):
    ranker = make_ranker(tmp_path / "model", make_tokenizer(template, bos))
    prompt, scores = scores_of(ranker, summary, history)
    text = ranker.chat.tokenizer.decode(list(prompt.prefix))
    assert text.count("<s>") == (bos and template is None)  # a chat template writes its own
    assert ("Likes the sea" in text, "Sea birds" in text) == (bool(summary), bool(history))
    assert scores.std() > 0.05
    alone = torch.cat([scores_of(ranker, summary, history, (item,))[1] for item in ("b", "c", "a")])
    assert_same_log_odds(alone, scores)


def test_a_bos_stands_once_before_the_prefix_and_before_no_candidate(tmp_path):
    ranker = make_ranker(tmp_path / "model", make_tokenizer(None, bos=True))
    prompt, _ = scores_of(ranker)
    bos = ranker.chat.tokenizer.bos_token_id
    assert prompt.prefix[0] == bos
    assert [*prompt.prefix, *sum(prompt.suffixes, ())].count(bos) == 1


def test_answers_are_the_words_as_the_tokenizer_writes_them_there(tmp_path):
    chat = make_ranker(tmp_path / "chat", make_tokenizer())
    plain = make_ranker(tmp_path / "plain", make_tokenizer(None))
    assert (chat.answers.yes_piece, plain.answers.yes_piece) == ("yes", "Ġyes")
    tokens, suffixes = [5, 6, 7], [[8, 9], [10]]
    assert plain.answers.yes_id != chat.answers.yes_id
    with torch.no_grad():  # the scores of one are not by accident those of the other
        values = slow_log_odds(chat.model, tokens, suffixes)
    assert values.std() > 0
