"""The reference of all commands as Markdown, made from the commands themselves: `python -m trsr.cli.reference`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import typer

from trsr.cli.app import app

_HEAD = """# Commands

Made from the program by `python -m trsr.cli.reference`. Results go to stdout, progress to stderr.

Exit codes: 0 done, 1 a bug in trsr, 2 usage or configuration, 3 bad data, 4 a model or backend that cannot do what
was asked, 130 stopped with Ctrl-C. An error that trsr foresees is one line on stderr.
"""
_VALUES: dict[Any, str] = {Path: "PATH", str: "TEXT", int: "NUMBER", float: "NUMBER"}


def render() -> str:
    """Markdown of every command with its arguments and options; the same in any terminal."""
    return "\n".join([_HEAD, *_commands(typer.main.get_command(app), "trsr")])


def _commands(command: Any, name: str) -> Iterator[str]:
    below = getattr(command, "commands", None)
    if below is None:
        yield _section(command, name)
        return
    for part, inner in below.items():
        yield from _commands(inner, f"{name} {part}")


def _section(command: Any, name: str) -> str:
    types = _value_types(command.callback)
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    usage = " ".join([name, *(_usage(argument) for argument in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"## `{name}`", "", command.help.strip(), "", "```text", usage, "```", ""]
    if arguments:
        lines += _table(("argument", "meaning"), ((f"`{_usage(entry)}`", entry.help) for entry in arguments))
    if options:
        rows = ((f"`{_flag(entry, types)}`", entry.help, _default(entry)) for entry in options)
        lines += _table(("option", "meaning", "default"), rows)
    return "\n".join(lines)


def _value_types(callback: Callable[..., Any]) -> dict[str, str]:
    """What a value of each parameter looks like, from the annotations of the command's function."""
    found = {}
    for name, hint in get_type_hints(callback).items():
        inner = next((part for part in get_args(hint) if part is not NoneType), hint)
        while get_args(inner):
            inner = get_args(inner)[0]
        found[name] = _VALUES.get(inner, "")
    return found


def _usage(argument: Any) -> str:
    word = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return word if argument.required else f"[{word}]"


def _flag(option: Any, types: dict[str, str]) -> str:
    names = ", ".join(option.opts)
    return names if option.is_flag else f"{names} {types[option.name]}"


def _default(option: Any) -> str:
    if option.required:
        return "required"
    return "" if option.is_flag or option.default is None else f"`{option.default}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str | None, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [*("| " + " | ".join((cell or "").replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


if __name__ == "__main__":
    typer.echo(render(), nl=False)
