"""How vLLM and SGLang are asked for the probabilities of two answers, and how their replies are read.

Written after the sources of vLLM (`entrypoints/openai/completion/protocol.py` at commit 002032ee) and
SGLang 0.5.23 (`srt/entrypoints/http_server.py`, `managers/tokenizer_manager.py`, `layers/sampler.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trsr.llm.chat import Answers

Tokens = tuple[int, ...]
Read = tuple[list[dict[int, Any]], int]


@dataclass(frozen=True)
class ServerProtocol:
    """How one kind of server is asked, and how its answer is read.

    `read` gives a log-probability by token id for each prompt, and how many prompt tokens the server read.
    """

    path: str
    body: Callable[[str, Answers, list[Tokens]], dict[str, Any]]
    read: Callable[[Any], Read]
    remedy: str


def _vllm_body(model: str, answers: Answers, prompts: list[Tokens]) -> dict[str, Any]:
    """Sampling is neutral, as `--logprobs-mode processed_logprobs` reports what sampling settings left.

    `logprobs` switches the report on; servers that know no `logprob_token_ids` list that many of the likeliest tokens.
    """
    neutral = {"temperature": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    report = {"logprobs": 20, "logprob_token_ids": [answers.yes_id, answers.no_id], "return_tokens_as_token_ids": True}
    return {"model": model, "prompt": prompts, "max_tokens": 1, **neutral, **report}


def _read_vllm(reply: Any) -> Read:
    choices = sorted(reply["choices"], key=lambda choice: int(choice["index"]))
    tops = [choice["logprobs"]["top_logprobs"][0] for choice in choices]
    mark = "token_id:"
    found = [{int(key.removeprefix(mark)): top[key] for key in top if key.startswith(mark)} for top in tops]
    return found, int(reply["usage"]["prompt_tokens"])


def _sglang_body(model: str, answers: Answers, prompts: list[Tokens]) -> dict[str, Any]:
    """No new token, as the server's own `/v1/score` does it; the temperature would scale log-probabilities."""
    neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    penalties = {"presence_penalty": 0.0, "frequency_penalty": 0.0}
    return {
        "input_ids": prompts,
        "sampling_params": {"max_new_tokens": 0, **neutral, **penalties},
        "return_logprob": True,
        "token_ids_logprob": [answers.yes_id, answers.no_id],
    }


def _read_sglang(reply: Any) -> Read:
    metas = [one["meta_info"] for one in reply]
    found = [{int(token): value for value, token, *_ in meta["output_token_ids_logprobs"][0]} for meta in metas]
    return found, sum(int(meta["prompt_tokens"]) for meta in metas)


PROTOCOLS = {
    "vllm": ServerProtocol(
        "/v1/completions", _vllm_body, _read_vllm, "take a vLLM whose /v1/completions knows logprob_token_ids"
    ),
    "sglang": ServerProtocol(
        "/generate", _sglang_body, _read_sglang, "take an SGLang whose /generate knows token_ids_logprob"
    ),
}
