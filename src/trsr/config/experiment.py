"""Settings of one experiment: one YAML file that names every component."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trsr.config.baselines import EmbeddingConfig, KnownBaseline
from trsr.config.checks import CheckConfig
from trsr.config.data import CandidateConfig, DataConfig, SplitConfig
from trsr.config.ranking import PromptConfig, RankerConfig, TrainingConfig
from trsr.config.settings import Count, Seed, Settings, parse_settings, read_yaml
from trsr.config.summaries import SummaryConfig

SummaryMethod = Literal["none", "hierarchical", "recurrent", "extractive"]
RankerMethod = Literal["none", "recent", "context", "hierarchical", "recurrent", "extractive"]
UNTUNED = "untuned"
"""The name of the ranker that is not tuned."""
TUNED = "trsr-"
"""How the names of tuned rankers begin, `trsr-METHOD`, and those of mixes that have one."""


ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]


class EvaluationConfig(Settings):
    """Cut-offs of the ranking metrics, the bootstrap over users, and below how many training events an item is rare."""

    ks: Annotated[list[Count], Field(min_length=1)] = [3, 5, 10]
    rare_below: Annotated[int, Field(ge=2)] = 5
    resamples: Annotated[int, Field(ge=100)] = 1000
    seed: Seed = 7


class ExperimentConfig(Settings):
    """One experiment from one YAML file.

    `methods` are the rankers that are tuned: with a summary, or with none and the latest `prompt.recent_items` items
    ("none"), as many items as have the tokens of those and of a summary ("recent"), or the whole history as far as
    `prompt.max_tokens` has room ("context"). With `untuned` the ranker is also scored before it is tuned. `mixes` are
    models whose scores are added up with weights fitted on validation: by name, the models that it has, of which
    `trsr-METHOD` is a tuned ranker; the name of a mix begins with `trsr-` where that of one of its models does.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: Seed = 7
    methods: list[RankerMethod] = ["none", "hierarchical", "recurrent"]
    untuned: bool = True
    baselines: list[KnownBaseline] = ["popularity"]
    embedding: EmbeddingConfig = EmbeddingConfig()
    mixes: dict[ModelName, list[str]] = {}
    data: DataConfig
    split: SplitConfig = SplitConfig()
    candidates: CandidateConfig = CandidateConfig()
    prompt: PromptConfig = PromptConfig()
    summaries: SummaryConfig = SummaryConfig()
    ranker: RankerConfig = RankerConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checks: CheckConfig = CheckConfig()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.data.path is None) == (self.data.bookshop is None):
            raise ValueError("data: give either path (a dataset folder) or bookshop (the built-in data)")
        for key, names in (("methods", self.methods), ("baselines", self.baselines)):
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names one twice; keep one of them")
        if not self.methods and not self.baselines:
            raise ValueError("methods and baselines are both empty; name at least one model")
        self._check_mixes()
        if self.training.tune == "full" and self.ranker.quantization != "none":
            raise ValueError("training.tune full cannot train 4-bit weights; take lora, or ranker.quantization none")
        return self

    @model_validator(mode="after")
    def _candidates_fit(self) -> Self:
        source = self.candidates.source
        if source == "catalogue" and self.methods:
            raise ValueError(
                "candidates.source catalogue is for baselines: an LLM would read every item of the catalogue for every "
                "user; set methods to [], or take uniform, popular or retrieved"
            )
        if source == "impressions" and self.data.bookshop is not None:
            raise ValueError(
                "candidates.source impressions needs a dataset folder that has them; the bookshop has none"
            )
        if source == "impressions" and self.split.by not in ("auto", "time"):
            raise ValueError(f"split.by {self.split.by} does not part impressions; take auto or time")
        return self

    @property
    def models(self) -> list[str]:
        """The models whose scores do not come from those of others, in the order they are made."""
        untuned = [UNTUNED] if self.methods and self.untuned else []
        return [*self.baselines, *untuned, *(f"{TUNED}{method}" for method in self.methods)]

    @property
    def encoder_model(self) -> str:
        """The model that turns item texts into vectors."""
        return self.embedding.model or self.ranker.base

    @property
    def encoder(self) -> EmbeddingConfig:
        """`embedding` with the name of its model."""
        return self.embedding.model_copy(update={"model": self.encoder_model})

    @property
    def summary_methods(self) -> list[SummaryMethod]:
        """The methods that need summaries."""
        return [method for method in self.methods if method != "none" and method != "recent" and method != "context"]

    @property
    def summary_template(self) -> str:
        """The template set of the summariser's prompts."""
        return self.summaries.template or self.prompt.template

    def prompt_of(self, method: RankerMethod) -> PromptConfig:
        """The prompt of the ranker of a method."""
        if method not in ("recent", "context"):
            return self.prompt
        return self.prompt.model_copy(update={"recent": "budget" if method == "recent" else "context"})

    def _check_mixes(self) -> None:
        for name, parts in self.mixes.items():
            unknown = next((part for part in parts if part not in self.models), None)
            if unknown is not None:
                known = ", ".join(self.models)
                raise ValueError(f"mixes.{name}: this experiment has no model {unknown!r}, but {known}")
            if len(parts) < 2 or len(set(parts)) < len(parts):
                raise ValueError(f"mixes.{name}: name two different models at least, and each once")
            if name in (*self.models, "chance", "oracle"):
                raise ValueError(f"mixes.{name}: a model has this name; give the mix another")
            if name.startswith(TUNED) != any(part.startswith(TUNED) for part in parts):
                raise ValueError(f"mixes.{name}: where a tuned ranker is in it, its name begins with {TUNED}; else not")


def load_experiment(path: Path) -> ExperimentConfig:
    """Read one experiment file; a relative `data.path` is taken from the file's own folder."""
    config = parse_settings(ExperimentConfig, read_yaml(path), str(path))
    return with_data_path(config, path.parent)


def with_data_path(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """The same experiment with a relative `data.path` taken from `folder`."""
    if config.data.path is None or config.data.path.is_absolute():
        return config
    data = config.data.model_copy(update={"path": (folder / config.data.path).resolve()})
    return config.model_copy(update={"data": data})
