"""Ways to score the candidates of one user, from the published one to the least that an exact one could take.

| method | what it computes |
|---|---|
| published | each candidate alone, padded on the right to 2,048 tokens, whole logits at all places |
| batched | full prompts in batches of the fastest of a few sizes, answer rows only at the last place |
| crossencoder | the same in sentence-transformers, from texts, so reading them is in its time |
| trsr | the prefix once and every suffix behind it, as `Ranker.score` does, nothing known before |
| trsr_returning | the same for a user whose prefix is known from a call with other candidates |
| limit | one plain causal row of prefix and suffixes, which scores nothing right; no exact method reads fewer tokens |
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trsr.benchmarks.agreement import compare
from trsr.benchmarks.batching import Batching
from trsr.benchmarks.cases import Case, Inputs
from trsr.benchmarks.crossencoder import make_cross_encoder, pairs_of
from trsr.benchmarks.rows import Rows
from trsr.benchmarks.subject import Subject
from trsr.benchmarks.timing import Call, LeftOut, Method, Value
from trsr.benchmarks.work import Work, behind_prefix, in_batches, rows_of, shared
from trsr.prompts.ranking import RankingPrompt
from trsr.ranking.families import prompt_limit
from trsr.ranking.scoring import LocalScoring

METHODS = ("published", "batched", "crossencoder", "trsr", "trsr_returning", "limit")
PUBLISHED_LENGTH = 2048
_CHECKED = 4  # candidates whose full prompts are read to check the methods
_UNBOUNDED = 1 << 50


class ScoringMethods:
    """The methods on one model; `path` is how ours computes attention."""

    names: tuple[str, ...] = METHODS

    def __init__(self, subject: Subject, path: str) -> None:
        self.subject, self.path = subject, path
        self._batching = Batching(subject.device)
        self._alone: dict[tuple[int, ...], float] = {}

    def work(self, name: str, case: Case) -> Work:
        """What a call of a method computes."""
        count = case.candidates
        return {
            "published": rows_of(count, PUBLISHED_LENGTH, count * PUBLISHED_LENGTH),
            "batched": in_batches(case, self._batching.taken("batched", case)),
            # it sorts by characters, which is nearly by tokens
            "crossencoder": in_batches(case, self._batching.taken("crossencoder", case), count),
            "trsr": shared(case),
            "trsr_returning": behind_prefix(case),
            "limit": rows_of(1, case.least),
        }[name]

    def build(self, name: str, inputs: Inputs) -> Method | LeftOut:
        """A method on a case."""
        build: Callable[[Inputs], tuple[Callable[[], Call], str] | LeftOut] = {
            "published": self._published,
            "batched": self._batched,
            "crossencoder": self._cross_encoder,
            "trsr": self._trsr,
            "trsr_returning": self._trsr_returning,
            "limit": self._limit,
        }[name]
        built = build(inputs)
        return built if isinstance(built, LeftOut) else Method(name, self.work(name, inputs.case), *built)

    def checker(self, inputs: Inputs) -> Callable[[str, Value], None]:
        """Compares what a method gives with full prompts, each read alone; the limit gives nothing to compare."""

        def check(name: str, value: Value) -> None:
            if name != "limit":
                expected = np.array([self._read_alone(prompt) for prompt in inputs.prompts[:_CHECKED]])
                compare(name, "log-odds", value[:_CHECKED], expected, self.subject.dtype, inputs.case)

        return check

    @torch.inference_mode()
    def _read_alone(self, prompt: tuple[int, ...]) -> float:
        """Log-odds of a full prompt, read once for all methods and cases."""
        if prompt not in self._alone:
            hidden = self.subject.decoder(input_ids=self.subject.ids([prompt]), use_cache=False).last_hidden_state
            self._alone[prompt] = float(self.subject.head.log_odds(hidden[:, -1])[0])
        return self._alone[prompt]

    def _published(self, inputs: Inputs) -> tuple[Callable[[], Call], str] | LeftOut:
        subject, longest = self.subject, inputs.case.prompt
        limit = prompt_limit(subject.model.config)
        if longest > PUBLISHED_LENGTH:
            return LeftOut(f"prompts of {longest} tokens do not fit into its {PUBLISHED_LENGTH:,}")
        if limit is not None and limit.tokens < PUBLISHED_LENGTH:
            return LeftOut(f"the model reads {limit.tokens:,} tokens, not its {PUBLISHED_LENGTH:,}")
        lengths = [len(prompt) for prompt in inputs.prompts]
        padded = subject.ids([[*prompt, *[0] * (PUBLISHED_LENGTH - len(prompt))] for prompt in inputs.prompts])
        masks = (torch.arange(PUBLISHED_LENGTH, device=subject.device) < subject.ids(lengths)[:, None]).long()
        yes, no = subject.answers.yes_id, subject.answers.no_id

        @torch.inference_mode()
        def call() -> Value:
            odds = []
            for row, mask, length in zip(padded, masks, lengths, strict=True):
                logits = subject.model(input_ids=row[None], attention_mask=mask[None], use_cache=False).logits
                answer = logits[0, length - 1].float()
                odds.append(answer[yes] - answer[no])
            return self._numbers(torch.stack(odds))

        return lambda: call, ""

    def _batched(self, inputs: Inputs) -> tuple[Callable[[], Call], str]:
        prompts = Rows.of(self.subject, inputs)

        @torch.inference_mode()
        def score(rows: Rows, batch: int) -> Value:
            odds = self._numbers(torch.cat([self._last(part) for part in rows.batches(batch)]))
            return odds[np.argsort(rows.order.cpu().numpy())]

        batch = self._batching.fastest("batched", inputs.case, lambda size: score(prompts.middle(size), size))
        return lambda: lambda: score(prompts, batch), f"batches of {batch}"

    def _cross_encoder(self, inputs: Inputs) -> tuple[Callable[[], Call], str] | LeftOut:
        encoder = self._encoder
        if isinstance(encoder, LeftOut):
            return encoder
        if inputs.case.ragged and not counts_from_anywhere(self.subject):
            return LeftOut("it fills up on the left, which moves the places that this model learned")
        pairs = pairs_of(encoder, inputs)
        if isinstance(pairs, LeftOut):
            return pairs

        by_length = [pairs[place] for place in inputs.case.order]

        def score(given: list[tuple[str, str]], batch: int) -> Value:
            scores: Value = encoder.predict(given, batch_size=batch, show_progress_bar=False)
            return scores

        def middle(size: int) -> list[tuple[str, str]]:
            start = (len(pairs) - size) // 2
            return by_length[start : start + size]

        batch = self._batching.fastest("crossencoder", inputs.case, lambda size: score(middle(size), size))
        return lambda: lambda: score(pairs, batch), f"batches of {batch}"

    def _trsr(self, inputs: Inputs) -> tuple[Callable[[], Call], str]:
        scoring = LocalScoring(self.subject.model, self.subject.answers, self.path)
        prompt = _prompt(inputs)
        return lambda: lambda: next(scoring.score([prompt])), self.path

    def _trsr_returning(self, inputs: Inputs) -> tuple[Callable[[], Call], str]:
        calls = 0

        def ready() -> Call:
            # a cache of its own for each call, let go with it: kept, it would stand in the memory of other methods
            nonlocal calls
            scoring = LocalScoring(self.subject.model, self.subject.answers, self.path, cache_bytes=_UNBOUNDED)
            next(scoring.score([_prompt(inputs, draw=2 * calls + 1)]))
            prompt = _prompt(inputs, draw=2 * calls)  # the first call's are those that are checked
            calls += 1
            return lambda: next(scoring.score([prompt]))

        return ready, self.path

    def _limit(self, inputs: Inputs) -> tuple[Callable[[], Call], str] | LeftOut:
        return plain_limit(self.subject, inputs, self._row_once)

    @torch.inference_mode()
    def _row_once(self, row: Tensor, ends: Tensor) -> Value:
        hidden = self.subject.decoder(input_ids=row, use_cache=False).last_hidden_state[0, ends]
        return self._numbers(self.subject.head.log_odds(hidden))

    def _last(self, rows: Rows) -> Tensor:
        """Log-odds at the ends of rows."""
        hidden = self.subject.decoder(input_ids=rows.ids, use_cache=False).last_hidden_state
        return self.subject.head.log_odds(rows.last(hidden))

    @cached_property
    def _encoder(self) -> Any:
        return make_cross_encoder(self.subject)

    @staticmethod
    def _numbers(values: Tensor) -> Value:
        numbers: Value = values.float().cpu().numpy()
        return numbers


def plain_limit(
    subject: Subject, inputs: Inputs, run: Callable[[Tensor, Tensor], Value]
) -> tuple[Callable[[], Call], str] | LeftOut:
    """One plain row of prefix and suffixes, also beyond the context, where places are no table of the model."""
    config = subject.model.config.get_text_config()
    context, note = getattr(config, "max_position_embeddings", None), ""
    if context is not None and inputs.case.least > context:
        if not counts_from_anywhere(subject):
            return LeftOut(f"its row of {inputs.case.least:,} tokens has more places than the model learned")
        note = "beyond the context"
    row = subject.ids([[*inputs.prefix, *(token for suffix in inputs.suffixes() for token in suffix)]])
    ends = inputs.case.prefix + subject.ids(inputs.case.lengths).cumsum(0) - 1
    return lambda: lambda: run(row, ends), note


def counts_from_anywhere(subject: Subject) -> bool:
    """Whether only the distance of two places matters, so that there is no table of places to stay in."""
    return bool(getattr(subject.model.config.get_text_config(), "rope_parameters", None))


def _prompt(inputs: Inputs, draw: int = 0) -> RankingPrompt:
    return RankingPrompt(inputs.prefix, inputs.suffixes(draw), "", ())
