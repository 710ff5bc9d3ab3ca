"""`trsr train` and `trsr rank`: one tuned ranker, and what it ranks."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from trsr.cli.output import Json, print_json


def train(
    config: Annotated[Path, typer.Argument(help="The experiment's YAML file.")],
    method: Annotated[str, typer.Option(help="none, recurrent, hierarchical or extractive")] = "recurrent",
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME where not given.")] = None,
    as_json: Json = False,
) -> None:
    """Tune one ranker of an experiment and keep it in adapter/ of the run folder; several processes may share it."""
    from trsr.config import load_experiment
    from trsr.experiment.run import train_one
    from trsr.ranking.processes import is_main

    settings = load_experiment(config)
    folder, log = train_one(settings, method, out or Path("runs") / settings.name)
    if not is_main():
        return
    if as_json:
        print_json({"model": str(folder), **log})
    else:
        typer.echo(f"ranker in {folder}, best at step {log['best_step']} of {len(log['steps'])}")


def rank(
    model: Annotated[Path, typer.Argument(help="Model folder of a tuned ranker.")],
    folder: Annotated[Path, typer.Argument(help="Dataset folder.")],
    user: Annotated[str | None, typer.Option(help="Rank for this user, over --item.")] = None,
    item: Annotated[list[str] | None, typer.Option(help="A candidate item id, repeatable; all items if none.")] = None,
    candidates: Annotated[Path | None, typer.Option(help="candidates.parquet to score whole; needs --out.")] = None,
    examples: Annotated[Path | None, typer.Option(help="examples.parquet with the cut of each example.")] = None,
    summaries: Annotated[Path | None, typer.Option(help="summaries.parquet of `trsr summarize`.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where scores.parquet goes.")] = None,
    server: Annotated[str | None, typer.Option(help="Address of a vLLM or SGLang server that holds the model.")] = None,
    server_model: Annotated[str | None, typer.Option(help="The name that it serves the model under.")] = None,
    server_protocol: Annotated[Literal["auto", "vllm", "sglang"], typer.Option(help="What it speaks.")] = "auto",
    api_key_env: Annotated[str | None, typer.Option(help="Environment variable with the server's key.")] = None,
    top: Annotated[int, typer.Option(help="How many to show; JSON has them all.", min=1)] = 10,
    as_json: Json = False,
) -> None:
    """Rank items for one user, or score a whole candidates file."""
    from trsr.errors import ConfigError
    from trsr.experiment.serving import RankerPlace, rank_user, score_file

    if candidates is not None and (user is not None or item):
        raise ConfigError("rank: give --candidates, or --user and --item, not both")
    ranker = RankerPlace(model, server, server_model, server_protocol, api_key_env)
    if candidates is not None:
        result = score_file(ranker, folder, candidates, examples=examples, summaries=summaries, out=out)
        if as_json:
            print_json(result)
        else:
            scoring = result["scoring"]
            rate = f"{scoring['candidates']} candidates, {scoring['tokens']:,} tokens in {scoring['seconds']:.1f} s"
            typer.echo(f"{result['examples']} examples scored in {result['out']}: {rate}")
        return
    ranked = rank_user(ranker, folder, user, item or [], summaries=summaries)
    if as_json:
        print_json(ranked)
        return
    for place, entry in enumerate(ranked[:top], 1):
        typer.echo(f"{place:>4}. {entry['probability']:6.1%}  {entry['item_id']}  {entry['text']}")
