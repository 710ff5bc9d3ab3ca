"""A module with the part of vLLM's interface that is used here, over a tiny model: greedy, one prompt at a time.

Names and behaviour follow vLLM's `entrypoints/llm.py`, `sampling_params.py` and `outputs.py`: prompts are dicts of
token ids with one `SamplingParams` each, outputs come in the order of the prompts, a stop token is among the ids.
"""

from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import torch


@dataclass(frozen=True)
class SamplingParams:
    max_tokens: int | None = 16
    temperature: float = 1.0
    seed: int | None = None
    repetition_penalty: float = 1.0
    stop_token_ids: list[int] | None = None


def make_fake_vllm(model) -> ModuleType:
    """The module; its engine runs `model` whatever path it is given, and keeps what it was called with."""

    class LLM:
        made = []  # noqa: RUF012 - the tests look at the engines there are

        def __init__(self, model, *, dtype="auto", max_model_len=None, enable_prefix_caching=None):
            if not isinstance(model, str):
                raise TypeError("model: a name or a path")
            self.settings = {"model": model, "dtype": dtype, "enable_prefix_caching": enable_prefix_caching}
            self.context, self.asked = max_model_len, []
            self.made.append(self)

        def generate(self, prompts, sampling_params=None, *, use_tqdm=True):
            self.asked.append((prompts, sampling_params))
            for prompt in prompts:
                length = len(prompt["prompt_token_ids"])
                if self.context is not None and length > self.context:
                    raise ValueError(f"The decoder prompt (length {length}) is longer than {self.context}.")
            return [self._answer(*one) for one in zip(prompts, sampling_params, strict=True)]

        def _answer(self, prompt, params):
            ids = prompt["prompt_token_ids"]
            written = []
            while len(written) < params.max_tokens and not (written and written[-1] in (params.stop_token_ids or ())):
                with torch.no_grad():
                    written.append(int(model(torch.tensor([ids + written])).logits[0, -1].argmax()))
            reason = "length" if len(written) == params.max_tokens else "stop"
            answer = SimpleNamespace(index=0, text="", token_ids=written, finish_reason=reason)
            return SimpleNamespace(prompt_token_ids=ids, outputs=[answer], finished=True)

    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    return module
