"""Settings of one experiment: one YAML file that names every component."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trsr.config.baselines import BaselineName, EmbeddingConfig
from trsr.config.checks import CheckConfig
from trsr.config.data import CandidateConfig, DataConfig, SplitConfig
from trsr.config.ranking import PromptConfig, RankerConfig, TrainingConfig
from trsr.config.settings import Count, Seed, Settings, parse_settings, read_yaml
from trsr.config.summaries import SummaryConfig

SummaryMethod = Literal["none", "hierarchical", "recurrent", "extractive"]


class EvaluationConfig(Settings):
    """Cut-offs of the ranking metrics and the bootstrap over users."""

    ks: Annotated[list[Count], Field(min_length=1)] = [3, 5, 10]
    resamples: Annotated[int, Field(ge=100)] = 1000
    seed: Seed = 7


class ExperimentConfig(Settings):
    """One experiment from one YAML file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: Seed = 7
    methods: list[SummaryMethod] = ["none", "hierarchical", "recurrent"]
    baselines: list[BaselineName] = ["popularity"]
    embedding: EmbeddingConfig = EmbeddingConfig()
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
        if self.training.tune == "full" and self.ranker.quantization != "none":
            raise ValueError("training.tune full cannot train 4-bit weights; take lora, or ranker.quantization none")
        return self


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
