"""The whole survey of a dataset folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trsr.config import CandidateConfig, DataConfig, SplitConfig
from trsr.data.histories import Histories
from trsr.data.reading import dataset_files
from trsr.data.report import CleaningReport
from trsr.data.survey.activity import ActivitySurvey, PopularitySurvey, survey_activity, survey_popularity
from trsr.data.survey.coded import CodedEvents, code_events
from trsr.data.survey.duplicates import DuplicateSurvey, survey_duplicates
from trsr.data.survey.leaks import OrderSurvey, TitleSurvey, survey_order, survey_titles
from trsr.data.survey.tasks import TaskSurvey, survey_tasks
from trsr.data.survey.texts import TextSurvey, survey_texts
from trsr.data.survey.times import TimeSurvey, survey_times

EVENTS_PER_PART = 500_000


@dataclass(frozen=True)
class Survey:
    """What was found in a folder, part by part; `times` is None where events have no real time."""

    name: str
    attributes: tuple[str, ...]
    cleaning: CleaningReport
    activity: ActivitySurvey
    popularity: PopularitySurvey
    times: TimeSurvey | None
    texts: TextSurvey
    duplicates: DuplicateSurvey
    titles: TitleSurvey
    order: OrderSurvey
    tasks: TaskSurvey


@dataclass(frozen=True, eq=False)
class Surveyed:
    """A survey, and the data that it is of for who wants to look further."""

    survey: Survey
    histories: Histories
    events: CodedEvents


def survey_folder(
    data: DataConfig,
    split: SplitConfig,
    candidates: CandidateConfig,
    seed: int,
    on_step: Callable[[str], None] = lambda step: None,
) -> Surveyed:
    """Survey the folder `data.path`; `on_step` is told what comes next.

    Raises `DataError` and `ConfigError` as `Dataset.from_folder` does.
    """
    folder = data.path or Path()
    on_step("reading")
    histories = Histories(folder, data, seed, EVENTS_PER_PART)
    events = code_events(histories)
    items, attributes = histories.items, histories.attributes
    on_step("texts")
    texts, keys = survey_texts(items, attributes, events.item_counts)
    on_step("duplicates")
    duplicates = survey_duplicates(items, attributes, keys, seed)
    on_step("order and leaks")
    survey = Survey(
        name=histories.name,
        attributes=attributes,
        cleaning=events.report,
        activity=survey_activity(events),
        popularity=survey_popularity(events),
        times=survey_times(events),
        texts=texts,
        duplicates=duplicates,
        titles=survey_titles(items, attributes, seed),
        order=survey_order(*dataset_files(folder), events),
        tasks=survey_tasks(events, data, split, candidates),
    )
    return Surveyed(survey, histories, events)
