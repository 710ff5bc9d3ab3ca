"""Settings of summaries and of the LLM that writes them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trsr.config.settings import Count, Settings


class BackendConfig(Settings):
    """Where an LLM runs: "local" weights in this process, an "openai"-compatible server, "vllm" in this process.

    The rest is for servers. `model` is the name that the server serves, `api_key_env` the environment variable that
    holds the key, `concurrency` the requests in flight, `timeout` the seconds that one may take, `answer_start` how
    the start of an answer is given. `max_calls` and `max_tokens` bound what is spent in total. `more` is added to
    every request; null takes a setting out of it.
    """

    kind: Literal["local", "openai", "vllm"] = "local"
    url: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    concurrency: Count = 64
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    max_calls: Count | None = None
    max_tokens: Count | None = None
    answer_start: Literal["auto", "continue", "tell"] = "auto"
    more: dict[str, Any] = {}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        fields = type(self).model_fields.items()
        asked = sorted(name for name, field in fields if name != "kind" and getattr(self, name) != field.default)
        if self.kind == "openai" and (self.url is None or self.model is None):
            raise ValueError("kind openai needs the url of the server and the model that it serves")
        if self.kind != "openai" and asked:
            raise ValueError(f"kind {self.kind} has no {asked[0]}; leave it out, or set kind to openai")
        return self


class SummaryConfig(Settings):
    """How histories are segmented and summarised, and by which LLM.

    A block has `block_size` items at most. `segments` "count" cuts by that alone, "tokens" also where the texts of a
    block would have more than `block_tokens` tokens, "session" also where more than `session_hours` lie between two
    events. `last_block` is the block that the next event may yet join: "include" sums it up and does so again when it
    has grown, "wait" leaves it out until it is whole.

    `template` is the set of the summariser's prompts, where it is not that of `prompt`.

    `form` "text" is a sentence or two, "structured" a profile of the lines that the template names. `grounded` lets
    the model write words of the items and of the template only; "auto" does so for a small local model. `store` keeps
    every call and profile: a SQLite file, or `postgresql://...`; without it, a run keeps its own in the run folder.
    With a server for `backend`, the tokenizer of `model` measures budgets.
    """

    backend: BackendConfig = BackendConfig()
    model: str = "smollm2-135m-instruct"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    template: str | None = None
    segments: Literal["count", "tokens", "session"] = "count"
    block_size: Count = 5
    block_tokens: Annotated[int, Field(ge=8)] | None = None
    session_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    last_block: Literal["include", "wait"] = "include"
    item_tokens: Annotated[int, Field(ge=8)] = 64
    max_prompt_tokens: Annotated[int, Field(ge=128)] = 2048
    max_new_tokens: Annotated[int, Field(ge=8)] = 64
    form: Literal["text", "structured"] = "text"
    grounded: bool | Literal["auto"] = "auto"
    repetition_penalty: Annotated[float, Field(ge=1)] = 1.1
    no_repeat_ngram: Annotated[int, Field(ge=0)] = 4
    batch_size: Count = 128
    store: str | None = None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        for segments, name in (("tokens", "block_tokens"), ("session", "session_hours")):
            given = getattr(self, name) is not None
            if given != (self.segments == segments):
                raise ValueError(f"segments {segments} and {name} go together; give both or neither")
        return self
