"""Summaries of what came before the targets of an experiment's examples."""

from collections.abc import Sequence

from trsr.data.columns import TIME, USER
from trsr.data.histories import History
from trsr.experiment.tasks import Task, Tasks
from trsr.progress import stage
from trsr.summaries.export import SummaryRow
from trsr.summaries.runner import SummaryCounts
from trsr.summaries.summarizer import Summarizer, Wanted


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
