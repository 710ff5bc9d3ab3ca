"""Summaries of whole histories: the state of every user as of now, for serving."""

from pathlib import Path
from typing import Any

from trsr.config import DataConfig, PromptConfig, SummaryConfig, load_experiment
from trsr.data.columns import ITEM
from trsr.data.dataset import Dataset
from trsr.errors import ConfigError
from trsr.experiment.run_folder import write_parquet
from trsr.experiment.summarising import METHODS, Summarizer, make_generator
from trsr.llm.chat import ChatFormat
from trsr.llm.weights import load_tokenizer, resolve_weights
from trsr.prompts.templates import TemplateSet
from trsr.summaries.export import summaries_frame
from trsr.summaries.store import SummaryStore


def summarize_folder(
    folder: Path, method: str, out: Path, store: Path, config: Path | None, users: int | None
) -> dict[str, Any]:
    """Summarise the users of a dataset folder into `out` (`example_id` is the user id); gives counts.

    `config` is an experiment file whose data, prompt and summary settings hold; its data path does not.
    Raises `ConfigError` for an unknown method.
    """
    if method not in METHODS:
        raise ConfigError(f'summarize: no method "{method}"; there are {", ".join(METHODS)}')
    data, prompt, settings, seed = DataConfig(path=folder), PromptConfig(), SummaryConfig(), 7
    if config is not None:
        experiment = load_experiment(config)
        data = experiment.data.model_copy(update={"path": folder, "bookshop": None})
        prompt, settings, seed = experiment.prompt, experiment.summaries, experiment.seed
    dataset = Dataset.from_folder(folder, data, seed)
    weights = resolve_weights(settings.model)
    chat = ChatFormat(load_tokenizer(weights))
    catalogue = {row[ITEM]: row for row in dataset.items.iter_rows(named=True)}
    chosen = sorted(dataset.histories())[:users]
    histories = [(user, user, dataset.history(user)[-(data.max_history or 0) :]) for user in chosen]
    with SummaryStore(store) as kept:
        summarizer = Summarizer(
            make_generator(settings, chat, weights),
            chat,
            TemplateSet(prompt.template),
            settings,
            kept,
            catalogue,
            dataset.attributes,
        )
        rows = list(summarizer.summarize(method, histories, len(histories)))
        usage = summarizer.usage()
    write_parquet(out, summaries_frame(rows))
    made, total = usage["of_these_made_now"]["calls"], usage["calls"]["calls"]
    return {"users": len(rows), "out": str(out), "calls_made": made, "calls_found": total - made, **usage}
