"""Text generation with local weights: greedy, in batches of the longest prompts that wait."""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from trsr.errors import ModelError
from trsr.llm.chat import ChatFormat
from trsr.llm.constrained import constrain
from trsr.llm.greedy import can_decode, decode
from trsr.llm.memory import ran_out, release
from trsr.llm.protocol import Call, Decoding, Generation
from trsr.llm.repetition import Limit, limit_each, limit_repetition

log = logging.getLogger(__name__)


class LocalGenerator:
    """Continues prompts with a causal language model held in this process; `batch_size` calls make a full batch.

    `can_decode` says whether our own loop writes, or `generate` of transformers, which serves every model. When memory
    runs out, `slots` is halved and the batch done again.
    """

    def __init__(self, model: Any, chat: ChatFormat, fingerprint: str, batch_size: int = 32) -> None:
        self.model = model.eval()
        self.chat = chat
        self.fingerprint = f"{fingerprint}/{str(model.dtype).removeprefix('torch.')}"
        self.slots = batch_size
        self._stop = _stop_ids(model, chat.tokenizer)
        self.can_decode = can_decode(model)
        self._submitted: list[Call] = []

    def submit(self, calls: Sequence[Call]) -> None:
        """Note calls for the next batch."""
        self._submitted += calls

    def collect(self) -> list[tuple[str, Generation]]:
        """Answer the calls submitted as one batch; of more than `slots`, the longest that may have equally much to say.

        Rows keep the order in which they were submitted. Raises `ModelError` for decoding that is not greedy, and where
        memory does not hold a single prompt.
        """
        if not self._submitted:
            return []
        hot = next((call.decoding for call in self._submitted if call.decoding.temperature > 0), None)
        if hot is not None:
            raise ModelError(f"temperature {hot.temperature}: local weights are decoded greedily; set it to 0")
        most = self._submitted[0].decoding.max_new_tokens
        alike = [place for place, call in enumerate(self._submitted) if call.decoding.max_new_tokens == most]
        rows = {place: self.chat.encode_prompt(self._submitted[place].prompt) for place in alike}
        while True:
            batch = sorted(sorted(rows, key=lambda place: -len(rows[place]))[: self.slots])
            calls = [self._submitted[place] for place in batch]
            try:
                generations = self._generate(calls, [rows[place] for place in batch], most)
                break
            except Exception as error:
                if not ran_out(error):
                    raise
                self._make_smaller(len(batch))
        self._submitted = [call for place, call in enumerate(self._submitted) if place not in set(batch)]
        return [(call.key, generation) for call, generation in zip(calls, generations, strict=True)]

    def close(self) -> None:
        """Forget calls that have not been answered; the model stays with whoever gave it."""
        self._submitted.clear()

    def _make_smaller(self, size: int) -> None:
        if size == 1:
            raise ModelError(
                "out of memory with a single prompt; lower summaries.max_prompt_tokens or take a smaller model"
            )
        release(self.model.device)
        self.slots = size // 2
        log.warning("memory ran out with a batch of %d calls; going on with %d", size, self.slots)

    def _generate(
        self, calls: Sequence[Call], rows: Sequence[tuple[int, ...]], max_new_tokens: int
    ) -> list[Generation]:
        """Greedy continuations of the prompts of calls, whose ids are `rows`."""
        write = decode if self.can_decode else generate
        written = write(self.model, rows, self._limit(calls), max_new_tokens, self._stop)
        return [self._finish(row, ids) for row, ids in zip(rows, written, strict=True)]

    def _limit(self, calls: Sequence[Call]) -> Limit:
        """The limits of every row, by how its call is to be decoded."""
        kinds: dict[Decoding, list[int]] = {}
        for row, call in enumerate(calls):
            kinds.setdefault(call.decoding, []).append(row)
        limits = []
        for decoding, own in kinds.items():
            prompts = [calls[row].prompt for row in own]
            limits.append((own, constrain(limit_repetition(decoding), prompts, decoding, self.chat, self._stop)))
        return limit_each(limits)

    def _finish(self, row: Sequence[int], written: Sequence[int]) -> Generation:
        stop = next((i for i, token in enumerate(written) if token in self._stop), len(written))
        text = self.chat.tokenizer.decode(written[:stop], skip_special_tokens=True)
        return Generation(text, len(row), min(stop + 1, len(written)))


@torch.inference_mode()
def generate(
    model: Any, prompts: Sequence[Sequence[int]], limit: Limit, max_new_tokens: int, stop: Sequence[int]
) -> list[Sequence[int]]:
    """What `decode` does, for every model of transformers: one batch, padded on the left to its longest prompt.

    Behind a stop token stands padding.
    """
    from transformers import LogitsProcessorList

    longest, places = max(map(len, prompts)), range(len(prompts))
    ids = torch.tensor([[stop[0]] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=ids.device)

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return limit(places, ids[:, longest:], scores)

    output = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=max_new_tokens,
        repetition_penalty=1.0,  # not that of the model's own settings, which would see the prompt
        logits_processor=LogitsProcessorList([process]),
        eos_token_id=list(stop),
        pad_token_id=stop[0],
    )
    written: list[Sequence[int]] = output[:, longest:].tolist()
    return written


def _stop_ids(model: Any, tokenizer: Any) -> list[int]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    ids = [*ids, tokenizer.eos_token_id]
    return sorted({int(token) for token in ids if token is not None}) or [0]
