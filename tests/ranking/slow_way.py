"""Scores the slow obvious way, every full prompt alone through the whole model, and small things to compare with it."""

import torch

from trsr.llm.chat import Answers
from trsr.prompts.ranking import RankingPrompt
from trsr.ranking.packing import Part, PrefixState, Row
from trsr.ranking.scoring import LocalScoring
from trsr.ranking.shared_prefix import AnswerHead, decoder_of, last_hidden

YES, NO = 257, 258
ANSWERS = Answers(YES, NO, "yes", "no")
PATHS = ("blocks", "mask", "flex")
CPU = torch.device("cpu")


def random_tokens(lengths, seed=0):
    """Lists of token ids of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 300, (length,), generator=generator).tolist() for length in lengths]


def make_prompt(prefix_length, suffix_lengths, seed=0):
    prefix, *suffixes = random_tokens([prefix_length, *suffix_lengths], seed)
    return RankingPrompt(tuple(prefix), tuple(map(tuple, suffixes)), "", ())


def head_of(model):
    return AnswerHead.of(model, YES, NO)


def slow_log_odds(model, prefix, suffixes):
    """Every full prompt alone through the whole model, all logits, the last position."""
    rows = [torch.tensor([[*prefix, *suffix]]) for suffix in suffixes]
    last = [model(input_ids=row, use_cache=False).logits[0, -1].float() for row in rows]
    return torch.stack([logits[YES] - logits[NO] for logits in last])


def slow_scores(model, prompt):
    with torch.no_grad():
        return slow_log_odds(model, prompt.prefix, prompt.suffixes)


def row_log_odds(model, parts, path):
    """Log-odds of all suffixes of one packed row, in order."""
    return head_of(model).log_odds(last_hidden(model, Row.of(parts, CPU, path)))


def read_prefix(model, prefix, path="blocks"):
    """Keys and values of a prefix that ran in a row of its own."""
    state = PrefixState(len(prefix))
    last_hidden(model, Row.of([Part(prefix, (), keep=state)], CPU, path))
    return state


def make_engine(model, path="blocks", pass_tokens=4096, cache_bytes=0):
    return LocalScoring(model, ANSWERS, path, pass_tokens, cache_bytes)


def engine_scores(engine, prompts):
    return [torch.from_numpy(scores) for scores in engine.score(prompts)]


def assert_same_log_odds(actual, expected, atol=1e-4):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def watch_rows(model):
    """A list that every packed row of `model` adds its length to."""
    lengths = []
    decoder = decoder_of(model)

    def watch(_module, _args, kwargs):
        if "layout" in kwargs:
            lengths.append(kwargs["input_ids"].shape[1])

    decoder.register_forward_pre_hook(watch, with_kwargs=True)
    return lengths
