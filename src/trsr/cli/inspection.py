"""`trsr doctor`: versions, device, weights, and the answer tokens as the tokenizer sees them."""

from typing import Annotated, Any

import typer

from trsr.cli.output import Json, print_json


def doctor(
    model: Annotated[str, typer.Option(help="Model to look at: a folder, a hub id or the embedded model.")] = (
        "smollm2-135m-instruct"
    ),
    template: Annotated[str, typer.Option(help="Template set whose answer words are resolved.")] = "generic",
    as_json: Json = False,
) -> None:
    """Show what a result on this machine would depend on, and whether the model can answer."""
    from trsr.experiment.machine import describe_machine, describe_model

    machine = describe_machine()
    if as_json:
        print_json({**machine, **describe_model(model, template)})
        return
    _print(machine)  # before the weights, which may not be there
    _print(describe_model(model, template))


def _print(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        typer.echo(f"{name:>16}  {value}")
