"""Text generation with local weights through transformers: greedy, in length-sorted batches."""

from collections.abc import Sequence
from typing import Any

import torch

from trsr.errors import ModelError
from trsr.llm.chat import ChatFormat
from trsr.llm.constrained import constrain
from trsr.llm.protocol import Call, Decoding, Generation, Prompt


class LocalGenerator:
    """Continues prompts with a causal language model held in this process; `batch_size` calls make a full batch."""

    def __init__(self, model: Any, chat: ChatFormat, fingerprint: str, batch_size: int = 32) -> None:
        self.model = model.eval()
        self.chat = chat
        self.fingerprint = f"{fingerprint}/{str(model.dtype).removeprefix('torch.')}"
        self.slots = batch_size
        self._stop = _stop_ids(model, chat.tokenizer)
        self._submitted: list[Call] = []

    def submit(self, calls: Sequence[Call]) -> None:
        """Note calls for the next batch."""
        self._submitted += calls

    def collect(self) -> list[tuple[str, Generation]]:
        """Answer the calls submitted as one batch; of more than `slots`, the longest that are decoded alike.

        Rows keep the order in which they were submitted. Raises `ModelError` for decoding that is not greedy.
        """
        if not self._submitted:
            return []
        decoding = self._submitted[0].decoding
        if decoding.temperature > 0:
            raise ModelError(f"temperature {decoding.temperature}: local weights are decoded greedily; set it to 0")
        alike = [place for place, call in enumerate(self._submitted) if call.decoding == decoding]
        rows = {place: self.chat.encode_prompt(self._submitted[place].prompt) for place in alike}
        batch = sorted(sorted(rows, key=lambda place: -len(rows[place]))[: self.slots])
        calls = [self._submitted[place] for place in batch]
        self._submitted = [call for place, call in enumerate(self._submitted) if place not in set(batch)]
        generations = self._generate([call.prompt for call in calls], [rows[place] for place in batch], decoding)
        return [(call.key, generation) for call, generation in zip(calls, generations, strict=True)]

    def close(self) -> None:
        """Forget calls that have not been answered; the model stays with whoever gave it."""
        self._submitted.clear()

    def _generate(
        self, prompts: Sequence[Prompt], rows: Sequence[tuple[int, ...]], decoding: Decoding
    ) -> list[Generation]:
        """Greedy continuations of prompts whose ids are `rows`, padded on the left to the longest."""
        longest = max(len(row) for row in rows)
        pad = self._stop[0]
        ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows], device=self.model.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=ids.device)
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=decoding.max_new_tokens,
                logits_processor=constrain(
                    _against_repetition(decoding, longest), prompts, decoding, self.chat, self._stop, longest
                ),
                eos_token_id=self._stop,
                pad_token_id=pad,
            )
        return [self._finish(row, written) for row, written in zip(rows, output[:, longest:].tolist(), strict=True)]

    def _finish(self, row: tuple[int, ...], written: list[int]) -> Generation:
        stop = next((i for i, token in enumerate(written) if token in self._stop), len(written))
        text = self.chat.tokenizer.decode(written[:stop], skip_special_tokens=True)
        return Generation(text, len(row), min(stop + 1, len(written)))


def _against_repetition(decoding: Decoding, written_from: int) -> Any:
    """The limits of `decoding` on what the model writes; words of the prompt, old notes above all, stay free to use."""
    from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

    limits: list[Any] = []
    if decoding.repetition_penalty > 1:
        limits.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.no_repeat_ngram:
        limits.append(NoRepeatNGramLogitsProcessor(decoding.no_repeat_ngram))

    def limit(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        written = ids[:, written_from:]
        for processor in limits if written.shape[1] else ():
            scores = processor(written, scores)
        return scores

    return LogitsProcessorList([limit])


def _stop_ids(model: Any, tokenizer: Any) -> list[int]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    ids = [*ids, tokenizer.eos_token_id]
    return sorted({int(token) for token in ids if token is not None}) or [0]
