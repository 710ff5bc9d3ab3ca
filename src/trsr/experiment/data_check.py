"""All that `trsr data check` tells: the survey of a folder, the tokens and the costs of its prompts, the findings."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trsr.config import DataConfig, ExperimentConfig, load_experiment
from trsr.data.survey.finding import Finding, by_severity
from trsr.data.survey.findings import data_findings
from trsr.data.survey.survey import Survey, Surveyed, survey_folder
from trsr.errors import ModelError
from trsr.experiment.cost_findings import cost_findings
from trsr.experiment.item_tokens import ItemTokens, measure_items
from trsr.experiment.prompt_costs import RankingCost, SummaryCosts, Terms, cost_rankings, cost_summaries
from trsr.llm.chat import ChatFormat
from trsr.llm.weights import Weights, load_config, load_tokenizer, resolve_weights


@dataclass(frozen=True)
class Tokens:
    """What needs a tokenizer: lengths of items and costs; `refused` is why no ranking prompt can be made, if so."""

    items: ItemTokens
    summaries: SummaryCosts
    ranking: RankingCost | None
    refused: str | None


@dataclass(frozen=True)
class DataCheck:
    """A survey, what tokens tell (or `no_tokens`, why they tell nothing), and the findings, gravest first."""

    survey: Survey
    tokens: Tokens | None
    no_tokens: str | None
    findings: list[Finding]

    def as_dict(self) -> dict[str, Any]:
        """Plain values: the counts of cleaning by their names, then a mapping for every part."""
        survey = asdict(self.survey)
        cleaning = survey.pop("cleaning")
        tokens = {"items": None, "summaries": None, "ranking": None, "refused": None}
        return {
            "name": survey.pop("name"),
            "attributes": list(survey.pop("attributes")),
            **cleaning,
            "findings": [asdict(finding) for finding in self.findings],
            **survey,
            "tokens": asdict(self.tokens) if self.tokens else tokens,
            "no_tokens": self.no_tokens,
        }


def check_settings(folder: Path, config: Path | None, min_rating: float | None) -> ExperimentConfig:
    """The settings of an experiment file, or the defaults, for the data of `folder`; `min_rating` goes before both."""
    if config is None:
        return ExperimentConfig(name="check", data=DataConfig(path=folder, min_rating=min_rating))
    experiment = load_experiment(config)
    changes: dict[str, Any] = {"path": folder, "bookshop": None}
    if min_rating is not None:
        changes["min_rating"] = min_rating
    return experiment.model_copy(update={"data": experiment.data.model_copy(update=changes)})


def check_data(
    settings: ExperimentConfig,
    model: str | None = None,
    with_tokens: bool = True,
    terms: Terms | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> DataCheck:
    """Look at the folder `settings.data.path`.

    `model` takes the place of both models of the settings. A tokenizer that cannot be had is no error: it is told in
    `no_tokens`. Raises `DataError` and `ConfigError` as `Dataset.from_folder` does, and `ConfigError` for budgets of
    prompts that cannot be kept.
    """
    surveyed = survey_folder(settings.data, settings.split, settings.candidates, settings.seed, on_step)
    tokens, reason = None, "tokens were not asked for"
    if with_tokens:
        on_step("tokens and costs")
        try:
            found = _tokenizers(settings, model)
        except ModelError as error:
            reason = str(error)
        else:
            tokens = _tokens(surveyed, found, settings, terms or Terms())
    findings = data_findings(surveyed.survey)
    if tokens is not None:
        findings += cost_findings(tokens.items, tokens.summaries, tokens.ranking, tokens.refused)
    return DataCheck(surveyed.survey, tokens, None if tokens else reason, by_severity(findings))


@dataclass(frozen=True)
class _Tokenizers:
    """Of the ranker and of the summariser, with their names."""

    ranker: tuple[str, Weights, ChatFormat]
    summarizer: tuple[str, Weights, ChatFormat]


def _tokenizers(settings: ExperimentConfig, model: str | None) -> _Tokenizers:
    names = model or settings.ranker.base, model or settings.summaries.model
    loaded = {name: _load(name) for name in dict.fromkeys(names)}
    return _Tokenizers(loaded[names[0]], loaded[names[1]])


def _load(name: str) -> tuple[str, Weights, ChatFormat]:
    weights = resolve_weights(name, with_weights=False, unpack=False)
    return name, weights, ChatFormat(load_tokenizer(weights))


def _tokens(surveyed: Surveyed, found: _Tokenizers, settings: ExperimentConfig, terms: Terms) -> Tokens:
    name, weights, chat = found.ranker
    histories = surveyed.histories
    items = measure_items(histories.items, histories.attributes, surveyed.events, chat, name, settings)
    summaries = cost_summaries(surveyed, found.summarizer[2], found.summarizer[0], settings, terms)
    context = getattr(load_config(weights).get_text_config(), "max_position_embeddings", None)
    ranking, refused = None, None
    try:
        ranking = cost_rankings(surveyed, chat, name, context, settings)
    except ModelError as error:  # told as a finding, for the rest of the page stands without it
        refused = str(error)
    return Tokens(items, summaries, ranking, refused)
