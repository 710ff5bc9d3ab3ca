"""Settings of every component: pydantic models that refuse unknown keys and round-trip through YAML."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trsr.errors import ConfigError

AttentionPath = Literal["auto", "measure", "blocks", "mask", "flex"]
SummaryMethod = Literal["none", "hierarchical", "recurrent", "extractive"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BookshopConfig(Settings):
    """The built-in synthetic data: a bookshop whose readers have a hidden taste that drifts."""

    books: Annotated[int, Field(ge=50, le=5000)] = 400
    readers: Count = 300
    min_events: Annotated[int, Field(ge=2)] = 9
    max_events: Annotated[int, Field(ge=2)] = 16
    seed: Seed = 7

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_events < self.min_events:
            raise ValueError(f"max_events {self.max_events} is below min_events {self.min_events}")
        if self.max_events > self.books // 2:
            raise ValueError("max_events is above half the number of books")
        return self


class DataConfig(Settings):
    """Where items and interactions come from (an experiment needs one source) and which of them are used."""

    path: Path | None = None
    bookshop: BookshopConfig | None = None
    attributes: Annotated[list[str], Field(min_length=1)] | None = None
    min_rating: float | None = None
    min_history: Count = 5
    max_history: Count | None = None

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.attributes is not None and len(set(self.attributes)) < len(self.attributes):
            raise ValueError("attributes names one twice; keep one of them")
        return self


class SplitConfig(Settings):
    """Which events are targets for training, validation and test.

    `by`: "time" cuts at two moments in real time, "last" holds out every user's latest two events, "users"
    parts the users (the paper's way); "auto" is "time" where every event has a real time, else "last".
    """

    by: Literal["auto", "time", "last", "users"] = "auto"
    valid: Fraction = 0.1
    test: Fraction = 0.1
    targets_per_user: Count = 1
    max_train: Count | None = None
    max_valid: Count | None = None
    max_test: Count | None = None


class CandidateConfig(Settings):
    """How many uniform negatives stand beside each target."""

    negatives: Count = 20
    train_negatives: Count = 4


class PromptConfig(Settings):
    """The ranking prompt: its template set, what goes in, and the token budget of every part."""

    template: str = "generic"
    recent_items: Annotated[int, Field(ge=0)] = 3
    show_ids: bool = False
    item_tokens: Annotated[int, Field(ge=8)] = 64
    candidate_tokens: Annotated[int, Field(ge=8)] = 96
    summary_tokens: Annotated[int, Field(ge=8)] = 128
    max_tokens: Annotated[int, Field(ge=64)] = 2048


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

    `form` "text" is a sentence or two, "structured" a profile of the lines that the template names. `grounded` lets
    the model write words of the items and of the template only; "auto" does so for a small local model. `store` keeps
    every call and profile: a SQLite file, or `postgresql://...`; without it, a run keeps its own in the run folder.
    With a server for `backend`, the tokenizer of `model` measures budgets.
    """

    backend: BackendConfig = BackendConfig()
    model: str = "smollm2-135m-instruct"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
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


class RankerConfig(Settings):
    """The LLM that answers yes or no, and how it scores.

    `pass_tokens` bounds the tokens of one forward pass, null for what free memory allows. `attention` is how packed
    rows are attended to: "blocks", "mask" or "flex"; "measure" takes the fastest on this machine, "auto" measures
    on a GPU and takes what was found fastest on a CPU. `prefix_cache_mb` keeps the prefixes of returning users.
    `quantization` "4bit" holds the weights in NF4 (QLoRA), which needs bitsandbytes.
    """

    base: str = "smollm2-135m-instruct"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    pass_tokens: Annotated[int, Field(ge=64)] | None = None
    attention: AttentionPath = "auto"
    prefix_cache_mb: Annotated[int, Field(ge=0)] = 0
    quantization: Literal["none", "4bit"] = "none"


class TrainingConfig(Settings):
    """Fine-tuning on packed rows; the defaults for optimiser and LoRA are the paper's.

    `tune`: "lora" trains fp32 adapters on frozen weights, "full" trains every weight, in fp32. `loss`: "answer" is
    cross-entropy of the answer token over the whole vocabulary (as published), "binary" over the two answers only,
    "listwise" a softmax of the log-odds over the candidates of an example, "pairwise" minus the log-sigmoid of a
    positive's log-odds minus a negative's. `positive_weight` multiplies the terms of positives in "answer" and
    "binary" (the sum is still divided by the number of candidates).

    A step takes `examples_per_step` examples, or, where `tokens_per_step` is given, examples until it holds so many
    tokens. They are packed into rows of at most `row_tokens` tokens (a longer example stands alone; null chooses), one
    forward and backward pass each. `activation_checkpointing` trades a second forward pass for memory.
    """

    tune: Literal["lora", "full"] = "lora"
    epochs: Count = 5
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    clip: Annotated[float, Field(gt=0)] = 1.0
    examples_per_step: Count = 8
    tokens_per_step: Count | None = None
    row_tokens: Count | None = None
    activation_checkpointing: bool = False
    loss: Literal["answer", "binary", "listwise", "pairwise"] = "answer"
    positive_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    lora_r: Count = 8
    lora_alpha: Count = 16
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    lora_modules: list[str] | None = None
    evaluations_per_epoch: Count = 1
    seed: Seed = 7

    @model_validator(mode="after")
    def _weighed(self) -> Self:
        if self.positive_weight != 1 and self.loss in ("listwise", "pairwise"):
            raise ValueError(f"positive_weight has no part in the {self.loss} loss; leave it at 1")
        return self


class EvaluationConfig(Settings):
    """Cut-offs of the ranking metrics and the bootstrap over users."""

    ks: Annotated[list[Count], Field(min_length=1)] = [3, 5, 10]
    resamples: Annotated[int, Field(ge=100)] = 1000
    seed: Seed = 7


class ExperimentConfig(Settings):
    """One experiment from one YAML file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: Seed = 7
    methods: Annotated[list[SummaryMethod], Field(min_length=1)] = ["none", "hierarchical", "recurrent"]
    data: DataConfig
    split: SplitConfig = SplitConfig()
    candidates: CandidateConfig = CandidateConfig()
    prompt: PromptConfig = PromptConfig()
    summaries: SummaryConfig = SummaryConfig()
    ranker: RankerConfig = RankerConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.data.path is None) == (self.data.bookshop is None):
            raise ValueError("data: give either path (a dataset folder) or bookshop (the built-in data)")
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("methods names one twice; keep one of them")
        if self.training.tune == "full" and self.ranker.quantization != "none":
            raise ValueError("training.tune full cannot train 4-bit weights; take lora, or ranker.quantization none")
        return self


def parse_settings(kind: type[S], values: Any, place: str) -> S:
    """Validate plain values into `kind`.

    Raises `ConfigError` with one line that names `place`, the field and what is wrong.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{place}: expected a mapping of settings, found {type(values).__name__}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = "".join(f"{part}." for part in first["loc"])[:-1] + ": " if first["loc"] else ""
        known = _known_keys(kind, first["loc"][:-1]) if first["type"] == "extra_forbidden" else ""
        what = f"unknown setting{known}" if known else first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{place}: {field}{what}") from None


def _known_keys(kind: type[BaseModel], path: tuple[int | str, ...]) -> str:
    for part in path:
        annotation = kind.model_fields[str(part)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        kind = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return f"; known here: {', '.join(kind.model_fields)}"


def load_experiment(path: Path) -> ExperimentConfig:
    """Read one experiment file; a relative `data.path` is taken from the file's own folder."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (yaml.YAMLError, ValueError, OSError) as error:  # ValueError: no UTF-8, or a date such as 2024-13-45
        raise ConfigError(f"{path}: not readable as YAML: {str(error).splitlines()[0]}") from None
    config = parse_settings(ExperimentConfig, values, str(path))
    return with_data_path(config, path.parent)


def with_data_path(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """The same experiment with a relative `data.path` taken from `folder`."""
    if config.data.path is None or config.data.path.is_absolute():
        return config
    data = config.data.model_copy(update={"path": (folder / config.data.path).resolve()})
    return config.model_copy(update={"data": data})


def dump_yaml(settings: Settings) -> str:
    """YAML text that `parse_settings` reads back to an equal object."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
