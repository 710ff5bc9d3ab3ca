"""Settings of every component, one class each: pydantic models that refuse unknown keys and round-trip through YAML."""

from trsr.config.baselines import BaselineName, EmbeddingConfig
from trsr.config.checks import CheckConfig
from trsr.config.data import BookshopConfig, CandidateConfig, CandidateSource, DataConfig, SplitConfig
from trsr.config.experiment import (
    TUNED,
    UNTUNED,
    EvaluationConfig,
    ExperimentConfig,
    RankerMethod,
    SummaryMethod,
    load_experiment,
    with_data_path,
)
from trsr.config.grid import RECORD, Cell, Grid, is_grid, load_grid
from trsr.config.importing import CleaningConfig, ColumnMap, FilterConfig, ImportConfig, TableConfig, TablesConfig
from trsr.config.ranking import AttentionPath, PromptConfig, RankerConfig, TrainingConfig
from trsr.config.settings import Seed, Settings, dump_yaml, flat_settings, parse_settings, read_yaml, short_key
from trsr.config.summaries import BackendConfig, SummaryConfig

__all__ = [
    "RECORD",
    "TUNED",
    "UNTUNED",
    "AttentionPath",
    "BackendConfig",
    "BaselineName",
    "BookshopConfig",
    "CandidateConfig",
    "CandidateSource",
    "Cell",
    "CheckConfig",
    "CleaningConfig",
    "ColumnMap",
    "DataConfig",
    "EmbeddingConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "FilterConfig",
    "Grid",
    "ImportConfig",
    "PromptConfig",
    "RankerConfig",
    "RankerMethod",
    "Seed",
    "Settings",
    "SplitConfig",
    "SummaryConfig",
    "SummaryMethod",
    "TableConfig",
    "TablesConfig",
    "TrainingConfig",
    "dump_yaml",
    "flat_settings",
    "is_grid",
    "load_experiment",
    "load_grid",
    "parse_settings",
    "read_yaml",
    "short_key",
    "with_data_path",
]
