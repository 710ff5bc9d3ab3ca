"""Summaries of what came before the targets of an experiment's examples."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from trsr.config import ExperimentConfig
from trsr.data.columns import TIME, USER
from trsr.data.histories import History
from trsr.experiment.tasks import Task, Tasks
from trsr.llm.backend import Source, decided, make_generator
from trsr.progress import stage
from trsr.prompts.templates import TemplateSet
from trsr.summaries.counts import SummaryCounts
from trsr.summaries.export import SummaryRow
from trsr.summaries.store import SummaryStore
from trsr.summaries.summarizer import Summarizer, Wanted


@contextmanager
def open_summarizer(
    config: ExperimentConfig, tasks: Tasks, store: SummaryStore, source: Source
) -> Iterator[Summarizer]:
    """A summariser of the experiment's items; its backend is let go in the end, for the ranker needs the memory."""
    settings = decided(config.summaries, source)
    generator = make_generator(settings, source)
    try:
        yield Summarizer(
            generator,
            source.chat,
            TemplateSet(config.summary_template),
            settings,
            store,
            tasks.catalogue,
            tasks.dataset.attributes,
            config.data.max_history,
        )
    finally:
        generator.close()


def summarize_tasks(summarizer: Summarizer, method: str, tasks: Tasks, wanted: Sequence[Task]) -> list[SummaryRow]:
    """One row per task, in the order given; its summary knows nothing but the events before the target."""
    times = dict(tasks.dataset.interactions.group_by(USER, maintain_order=True).agg(TIME).iter_rows())
    before = summarizer.counts.users

    def asked(task: Task) -> Wanted:
        user, history = task.request.user_id, tasks.whole_history(task)
        segments = summarizer.segment(History(user, tuple(history), tuple(times[user][: task.cut])))
        return Wanted(task.request.example_id, user, segments)

    with stage(f"summaries, {method}", len(wanted)) as progress:

        def show(counts: SummaryCounts) -> None:
            progress.update(counts.users - before, f"{counts.made.calls} calls, {counts.found.calls} found")

        rows = {
            one.name: SummaryRow(one.name, one.user, method, one.segments.blocks, profile)
            for one, profile in summarizer.summaries(method, map(asked, wanted), show)
        }
        progress.update(len(wanted))
    return [rows[task.request.example_id] for task in wanted]
