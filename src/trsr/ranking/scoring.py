"""Scoring at the token limit: many users' prefixes and suffixes in passes of bounded size.

A pass is one packed row. Users are taken in windows, longest first, and put into passes up to a token budget; a
user who does not fit into one pass has the prefix read once and the suffixes behind its keys and values, pass by
pass. The budget is lowered by itself when memory runs out. Results come in input order.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch

from trsr.data.scoring import Scores
from trsr.errors import ModelError
from trsr.llm.chat import Answers
from trsr.llm.memory import free_bytes, ran_out, release
from trsr.progress import say
from trsr.prompts.ranking import RankingPrompt
from trsr.ranking.families import check_length, prompt_limit
from trsr.ranking.packing import Part, PrefixState, Row
from trsr.ranking.prefix_cache import PrefixCache, prefix_key, weights_state
from trsr.ranking.shared_prefix import AnswerHead, check_finite, last_hidden

_MOST_TOKENS = {"cpu": 1024, "cuda": 32768}  # beyond that a device gains little
_FEWEST_TOKENS = 256
_LONGEST = 4096  # prompt length that the estimate of memory counts with
_WINDOW_PASSES = 4


@dataclass
class ScoringReport:
    """What scoring did so far; `tokens` were computed, `known_tokens` of prefixes came from the cache."""

    prompts: int = 0
    candidates: int = 0
    tokens: int = 0
    known_tokens: int = 0
    passes: int = 0
    pass_tokens: int = 0
    out_of_memory: int = 0
    prefix_hits: int = 0
    prefix_misses: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, with rates."""
        rate = self.tokens / self.seconds if self.seconds else None
        asked = self.prefix_hits + self.prefix_misses
        return {**asdict(self), "tokens_per_second": rate, "hit_rate": self.prefix_hits / asked if asked else None}

    @property
    def throughput(self) -> str:
        """Tokens a second in words."""
        return f"{self.tokens / self.seconds:,.0f} tokens/s" if self.seconds else ""


@dataclass(eq=False)
class _Work:
    """A prefix on its way, with the candidates of all prompts of a window that begin with it.

    `known` is the prefix while it is read and candidates are left, `done` how many of them are scored, `failure` why
    the rest cannot be.
    """

    prefix: tuple[int, ...]
    suffixes: list[tuple[int, ...]]
    scores: Scores
    key: bytes | None = None
    known: PrefixState | None = None
    done: int = 0
    failure: ModelError | None = None

    @property
    def left(self) -> int:
        """Candidates that are still to be scored."""
        return 0 if self.failure is not None else len(self.suffixes) - self.done


class LocalScoring:
    """Log-odds of yes from a model in this process.

    `pass_tokens` bounds the tokens of a pass, None for what free memory allows; `cache_bytes` bounds the prefixes
    kept for returning users, 0 for none. `report` tells what was done; `on_pass` is told of it behind every pass.
    Several threads may score at once: they take turns.
    """

    def __init__(
        self, model: Any, answers: Answers, path: str, pass_tokens: int | None = None, cache_bytes: int = 0
    ) -> None:
        self.model, self.path = model, path
        self.on_pass: Callable[[ScoringReport], object] = lambda report: None
        with torch.no_grad():
            self.head = AnswerHead.of(model, answers.yes_id, answers.no_id)
        self._lock = Lock()
        self.cache = PrefixCache(cache_bytes) if cache_bytes else None
        self.report = ScoringReport(pass_tokens=pass_tokens or affordable_tokens(model))

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.head.weight.device

    def score(self, prompts: Iterable[RankingPrompt]) -> Iterator[Scores]:
        """Log-odds (n candidates,) fp32 of each prompt, in input order, as the passes get done.

        Raises `ModelError` for values that are not finite or when one prompt alone does not fit into memory,
        `ConfigError` for a prompt longer than the model reads.
        """
        for window in self._windows(prompts):
            yield from self._score_window(window)

    def _windows(self, prompts: Iterable[RankingPrompt]) -> Iterator[list[RankingPrompt]]:
        window: list[RankingPrompt] = []
        tokens = 0
        for prompt in prompts:
            longest = len(prompt.prefix) + max(map(len, prompt.suffixes), default=0)
            check_length(self.model.config, longest, f"a prompt of {longest} tokens")
            window.append(prompt)
            tokens += prompt.tokens
            if tokens >= _WINDOW_PASSES * self.report.pass_tokens:
                yield window
                window, tokens = [], 0
        if window:
            yield window

    def _score_window(self, window: list[RankingPrompt]) -> Iterator[Scores]:
        works, places = _by_prefix(window)
        with self._lock:
            self._score_works(works, len(window))
        for prompt, (work, start) in zip(window, places, strict=True):
            scores = work.scores[start : start + len(prompt.suffixes)]
            if work.failure is not None and work.done < start + len(scores):
                raise work.failure
            check_finite(torch.from_numpy(scores))
            self.report.prompts += 1
            yield scores

    def _score_works(self, works: Sequence[_Work], prompts: int) -> None:
        """Score them all; of a prefix that several prompts share, all but the one that reads it count as found."""
        read = self.report.prefix_misses
        if self.cache is not None:
            weights = weights_state(self.model)
            for work in works:
                work.key = prefix_key(work.prefix, weights)
        queue = deque(sorted((work for work in works if work.left), key=lambda work: -self._tokens(work, work.left)))
        while queue:
            self._run(queue)
            self.on_pass(self.report)
        if self.cache is not None:
            self.report.prefix_hits += prompts - (self.report.prefix_misses - read)

    def _run(self, queue: deque[_Work]) -> None:
        """Run a pass from the front of the queue; what is not done afterwards goes back to the front."""
        started = time.perf_counter()
        taken = self._take(queue)
        parts = [self._part(work, count) for work, count in taken]
        values = self._attempt(parts)
        if values is None:
            self._lower(taken, sum(part.tokens for part in parts))
        else:
            self._record(taken, parts, values)
        queue.extendleft(work for work, _ in reversed(taken) if work.left)
        self.report.seconds += time.perf_counter() - started

    def _attempt(self, parts: Sequence[Part]) -> Scores | None:
        """The log-odds of a pass, None when memory ran out."""
        try:
            return self._log_odds(parts)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            return None

    def _log_odds(self, parts: Sequence[Part]) -> Scores:
        with torch.inference_mode():
            row = Row.of(parts, self.device, self.path)
            return self.head.log_odds(last_hidden(self.model, row)).cpu().numpy()

    def _record(self, taken: Sequence[tuple[_Work, int]], parts: Sequence[Part], values: Scores) -> None:
        self.report.passes += 1
        self.report.candidates += len(values)
        self.report.tokens += sum(part.tokens for part in parts)
        start = 0
        for (work, count), part in zip(taken, parts, strict=True):
            work.scores[work.done : work.done + count] = values[start : start + count]
            work.done, start = work.done + count, start + count
            if part.keep is not None and self.cache is not None and work.key is not None:
                self.cache.put(work.key, part.keep)
            self.report.prefix_misses += self.cache is not None and bool(part.prefix)
            if part.known is not None and work.known is None:
                self.report.known_tokens += part.known.length
            work.known = (part.keep or part.known) if work.left else None

    def _part(self, work: _Work, count: int) -> Part:
        suffixes = work.suffixes[work.done : work.done + count]
        known = work.known
        if known is None and self.cache is not None and work.key is not None:
            known = self.cache.get(work.key)
        if known is not None:
            return Part((), suffixes, known=known)
        keep = PrefixState(len(work.prefix)) if count < work.left or self.cache is not None else None
        return Part(work.prefix, suffixes, keep=keep)

    def _take(self, queue: deque[_Work]) -> list[tuple[_Work, int]]:
        """Take works for one pass off the queue, each with how many of its candidates go.

        Whole ones that fit beside each other, or as much of the first as fits, one candidate at least.
        """
        first = queue.popleft()
        count = self._fitting(first)
        taken, room = [(first, count)], self.report.pass_tokens - self._tokens(first, count)
        for work in list(queue):
            cost = self._tokens(work, work.left)
            if cost <= room:
                queue.remove(work)
                taken.append((work, work.left))
                room -= cost
        return taken

    def _fitting(self, work: _Work) -> int:
        room = self.report.pass_tokens - self._tokens(work, 0)
        count = 0
        for suffix in work.suffixes[work.done :]:
            room -= len(suffix)
            if room < 0:
                break
            count += 1
        return max(count, 1)

    def _tokens(self, work: _Work, count: int) -> int:
        """Tokens that the next `count` candidates of a work take in a pass, with the prefix where it is not known."""
        is_known = work.known is not None or (
            self.cache is not None and work.key is not None and work.key in self.cache
        )
        prefix = 0 if is_known else len(work.prefix)
        return prefix + sum(map(len, work.suffixes[work.done : work.done + count]))

    def _lower(self, taken: Sequence[tuple[_Work, int]], tokens: int) -> None:
        release(self.device)
        self.report.out_of_memory += 1
        if sum(count for _, count in taken) == 1:
            taken[0][0].failure = ModelError(
                f"memory ran out on one prompt of {tokens} tokens; shorten prompts (prompt.max_tokens), take a smaller "
                "dtype or model, or free memory"
            )
            return
        self.report.pass_tokens = max(min(tokens, self.report.pass_tokens) // 2, 1)
        say(f"memory ran out on a pass of {tokens} tokens; going on with {self.report.pass_tokens} a pass")


def _by_prefix(window: Sequence[RankingPrompt]) -> tuple[list[_Work], list[tuple[_Work, int]]]:
    """The works of a window, and for each of its prompts the work and where its candidates begin there."""
    works: dict[tuple[int, ...], _Work] = {}
    places = []
    for prompt in window:
        work = works.setdefault(prompt.prefix, _Work(prompt.prefix, [], np.empty(0, np.float32)))
        places.append((work, len(work.suffixes)))
        work.suffixes += prompt.suffixes
    for work in works.values():
        work.scores = np.empty(len(work.suffixes), dtype=np.float32)
    return list(works.values()), places


def affordable_tokens(model: Any) -> int:
    """Tokens of a pass that half of the free memory holds, as a power of two within what a device makes use of."""
    device, config = model.device, model.config.get_text_config()
    width = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * width
    size = model.dtype.itemsize
    together = config.num_attention_heads
    if device.type == "cpu":
        together //= getattr(config, "num_key_value_heads", None) or together
    longest = limit.tokens if (limit := prompt_limit(config)) is not None else _LONGEST
    bytes_a_token = size * (10 * width + 4 * inner + 4 * together * min(longest, _LONGEST))
    fitting: int = max(free_bytes(device) // 2 // bytes_a_token, 1)
    most = _MOST_TOKENS.get(device.type, 4096)
    return max(min(1 << (fitting.bit_length() - 1), most), _FEWEST_TOKENS)
