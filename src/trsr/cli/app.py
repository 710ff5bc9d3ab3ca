"""The `trsr` program: commands by noun and verb, errors as one sentence, exit codes as in `trsr.errors`."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from trsr.cli import bench, data, demo, evaluation, export, importing, inspection, ranking, runs, summaries
from trsr.errors import ModelError, TrsrError


class _Commands(TyperGroup):
    def invoke(self, context: Any) -> Any:
        """Run a command; Ctrl-C ends it with one sentence."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            print("trsr: stopped; what a run or a store has kept is not done again", file=sys.stderr)  # noqa: T201
            raise typer.Exit(130) from None


app = typer.Typer(
    name="trsr",
    cls=_Commands,
    help="Rank items for people by what the items say.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data.app.command("import")(importing.import_data)
data.app.command("formats")(importing.formats)
data.app.command("impressions")(importing.impressions)
app.add_typer(data.app, name="data")
app.command("demo")(demo.demo)
app.command("run")(runs.run)
app.command("summarize")(summaries.summarize)
app.command("train")(ranking.train)
app.command("rank")(ranking.rank)
app.command("export")(export.export)
app.command("evaluate")(evaluation.evaluate)
app.command("report")(evaluation.report)
app.add_typer(bench.app, name="bench")
app.command("doctor")(inspection.doctor)


def main() -> None:
    """Run the program; an error of ours ends with its one line and its exit code."""
    _set_up_libraries()
    try:
        app()
    except TrsrError as error:
        print(f"trsr: {' '.join(str(error).splitlines())}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except Exception as error:
        from trsr.llm.memory import RAN_OUT, ran_out

        if not ran_out(error):
            raise
        print(f"trsr: {RAN_OUT}", file=sys.stderr)  # noqa: T201
        sys.exit(ModelError.exit_code)


def _set_up_libraries() -> None:
    """Keep the progress bars and notices of the model libraries out of our output, and unused memory for five seconds.

    Polars gives it back after half a second, and an import, whose blocks are of one size, asks for it again.
    """
    import logging
    import os
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # said outright, a fork prints no warning
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:5000")  # Polars puts it behind its own
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    warnings.filterwarnings("ignore", category=FutureWarning)


if __name__ == "__main__":
    main()
