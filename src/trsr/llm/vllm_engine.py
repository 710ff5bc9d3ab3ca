"""Text generation with vLLM in this process: all calls of a collect as one batch, scheduled by the engine.

Written after vLLM's `entrypoints/llm.py` (at 0012cf69) and `sampling_params.py` (at 00388f65). Prompts go in as token
ids, so data stays data as it does locally, and the engine's prefix cache computes the shared instruction once.
"""

from collections.abc import Sequence
from typing import Any

from trsr.errors import ModelError
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Call, Decoding, Generation
from trsr.llm.weights import Weights

SLOTS = 1024


def vllm_fingerprint(weights: Weights, dtype: str) -> str:
    """The fingerprint of the engine on `weights`."""
    return f"{weights.fingerprint}/vllm/{dtype}"


class VllmGenerator:
    """Continues prompts with a vLLM engine on `weights`.

    `slots` bounds the calls of one batch; `context` the tokens of a prompt and its answer, None for what the model
    has. `dtype` is vLLM's. Raises `ModelError` where vLLM is missing or cannot load the model.
    """

    def __init__(
        self, weights: Weights, chat: ChatFormat, dtype: str = "auto", slots: int = SLOTS, context: int | None = None
    ) -> None:
        try:
            import vllm
        except ImportError as error:
            raise ModelError(f"backend vllm: vLLM cannot be imported ({error}): pip install vllm") from None
        self._sampling = vllm.SamplingParams
        try:
            self._engine: Any = vllm.LLM(
                model=str(weights.path), dtype=dtype, max_model_len=context, enable_prefix_caching=True
            )
        except (ValueError, RuntimeError, OSError) as error:
            words = " ".join(str(error).split())[:200]
            raise ModelError(f"{weights.path}: vLLM cannot load the model ({words}); change what it names") from None
        self.chat, self.slots = chat, slots
        self.fingerprint = vllm_fingerprint(weights, dtype)
        self._submitted: list[Call] = []

    def submit(self, calls: Sequence[Call]) -> None:
        """Note calls for the next `collect`."""
        self._submitted += calls

    def collect(self) -> list[tuple[str, Generation]]:
        """Answer the calls submitted first, `slots` at most. Raises `ModelError` for a prompt that does not fit."""
        calls, self._submitted = self._submitted[: self.slots], self._submitted[self.slots :]
        if not calls:
            return []
        prompts = [{"prompt_token_ids": list(self.chat.encode_prompt(call.prompt))} for call in calls]
        try:
            outputs = self._engine.generate(prompts, [self._params(call.decoding) for call in calls], use_tqdm=False)
        except ValueError as error:
            words = " ".join(str(error).split())[:200]
            raise ModelError(f"vLLM refused a prompt ({words}); shorten it or raise the context") from None
        return [(call.key, self._finish(output)) for call, output in zip(calls, outputs, strict=True)]

    def close(self) -> None:
        """Let go of the engine and its memory."""
        self._submitted.clear()
        self._engine = None

    def _params(self, decoding: Decoding) -> Any:
        """Unlike the local limit, vLLM's repetition penalty counts words of the prompt too."""
        end = self.chat.tokenizer.eos_token_id
        return self._sampling(
            max_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            seed=decoding.seed,
            repetition_penalty=decoding.repetition_penalty,
            stop_token_ids=None if end is None else [end],
        )

    def _finish(self, output: Any) -> Generation:
        written = output.outputs[0]
        text = self.chat.tokenizer.decode(list(written.token_ids), skip_special_tokens=True)
        return Generation(text, len(output.prompt_token_ids), len(written.token_ids))
