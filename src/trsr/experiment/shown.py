"""Which items of its history the prompt of an example shows."""

from collections.abc import Callable, Sequence

from trsr.config import ExperimentConfig, RankerMethod
from trsr.experiment.tasks import Task, Tasks
from trsr.llm.chat import ChatFormat
from trsr.llm.weights import load_tokenizer, resolve_weights
from trsr.prompts.items import ItemTexts
from trsr.prompts.ranking import RankingPrompts
from trsr.prompts.templates import TemplateSet

Shown = Callable[[Task, str], Sequence[str]]


def shown_items(tasks: Tasks, config: ExperimentConfig, method: RankerMethod) -> Shown:
    """The recent items, oldest first, in the prompt of a task with a summary.

    Where tokens decide how many there are, prompts are built once more to see it.
    """
    prompt = config.prompt_of(method)
    if prompt.recent == "items":
        return lambda task, _: prompt.latest(task.request.history)
    chat, templates = ChatFormat(load_tokenizer(resolve_weights(config.ranker.base))), TemplateSet(prompt.template)
    items = ItemTexts(tasks.catalogue, tasks.dataset.attributes, templates, chat, prompt.show_ids)
    prompts = RankingPrompts(templates, items, chat, prompt, tasks.popularity)

    def shown(task: Task, summary: str) -> Sequence[str]:
        history = task.request.history
        count = len(prompts.build(summary, history, task.request.candidates).recent)
        return history[len(history) - count :]

    return shown
