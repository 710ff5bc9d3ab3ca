"""Template sets: the words and prompts of one domain, as Jinja files that a user's own folder can replace.

A set is a folder with `words.yaml` and `*.j2` files; what it lacks is taken from the set `generic`. Data values
are not written into a template but marked by a placeholder, and the rendered text is cut at the placeholders: a
template sees where data goes and never what it says, so data can neither run as a template nor pass for one.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment

from trsr.errors import ConfigError
from trsr.llm.protocol import Piece
from trsr.llm.words import words

SHIPPED = Path(__file__).parent / "templates"
LINES = ("likes", "dislikes", "topics", "measure", "change")
_MARK = re.compile("\ue0a1([0-9]+)\ue0a1")


class TemplateSet:
    """The prompts of one domain: a shipped name such as "films", or the path of a folder."""

    def __init__(self, name: str) -> None:
        folders = [SHIPPED / name, Path(name)]
        found = next((folder for folder in folders if (folder / "words.yaml").is_file()), None)
        if found is None:
            shipped = ", ".join(sorted(path.name for path in SHIPPED.iterdir()))
            raise ConfigError(f'template "{name}": neither a shipped set ({shipped}) nor a folder with words.yaml')
        self.folder = found
        self.name = name
        self.words = _read_words(SHIPPED / "generic") | _read_words(self.folder)
        self._environment = ImmutableSandboxedEnvironment(
            loader=jinja2.FileSystemLoader([self.folder, SHIPPED / "generic"]),
            undefined=jinja2.StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
        )

    def text(self, part: str, **values: Any) -> str:
        """Render one part to plain text. Raises `ConfigError` naming the template file."""
        try:
            known = {**self.words, "form": list(self.form.values()), **values}
            return self._environment.get_template(f"{part}.j2").render(known)
        except jinja2.TemplateError as error:
            raise ConfigError(f"template {self.name}/{part}.j2: {error.message or type(error).__name__}") from None
        except (TypeError, ValueError, ArithmeticError) as error:  # an expression in a user's template, or no UTF-8
            raise ConfigError(f"template {self.name}/{part}.j2: {error}") from None

    def pieces(self, part: str, data: Mapping[str, str | list[str]] | None = None, **values: int) -> tuple[Piece, ...]:
        """Render one part to pieces: template text and `values` are trusted, the values of `data` are not."""
        stored: list[str] = []

        def mark(value: str) -> str:
            stored.append(value)
            return f"\ue0a1{len(stored) - 1}\ue0a1"

        marked = {
            name: [mark(entry) for entry in value] if isinstance(value, list) else mark(value)
            for name, value in (data or {}).items()
        }
        parts = _MARK.split(self.text(part, **marked, **values))
        pieces = (
            Piece(stored[int(part)], False) if index % 2 else Piece(part, True) for index, part in enumerate(parts)
        )
        return tuple(piece for piece in pieces if piece.text)

    @property
    def fingerprint(self) -> str:
        """sha256 of words and templates: the same fingerprint, the same prompts."""
        return hashlib.sha256(json.dumps([self.words, self._sources()], sort_keys=True).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the whole set into `folder`, so that it loads from there without the shipped files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in self._sources().items():
            (folder / name).write_text(source, encoding="utf-8")
        (folder / "words.yaml").write_text(yaml.safe_dump(self.words, allow_unicode=True), encoding="utf-8")

    def _sources(self) -> dict[str, str]:
        """Every template file of the set by name, its own before the generic one."""
        paths = [path for folder in (SHIPPED / "generic", self.folder) for path in sorted(folder.glob("*.j2"))]
        return {path.name: path.read_text(encoding="utf-8") for path in paths}

    @cached_property
    def yes(self) -> str:
        """The answer word for a candidate that the user will choose."""
        return str(self.words["yes"])

    @cached_property
    def no(self) -> str:
        """The answer word for any other candidate."""
        return str(self.words["no"])

    @cached_property
    def form(self) -> dict[str, str]:
        """The lines of a structured summary: what each of `LINES` is called here, without those that have no name."""
        names = {line: self.words[f"line_{line}"].strip() for line in LINES}
        form = {line: name for line, name in names.items() if name}
        if not form or len({name.casefold() for name in form.values()}) < len(form):
            raise ConfigError(f"{self.folder}/words.yaml: the words line_... name no line or one twice; name each once")
        return form

    @cached_property
    def function_words(self) -> frozenset[str]:
        """Words of the set's language that say nothing by themselves, caseless."""
        return frozenset(words(self.words["function_words"]))

    @cached_property
    def refusals(self) -> tuple[str, ...]:
        """How an answer begins that refuses the task, in the set's language."""
        return tuple(phrase.strip() for phrase in self.words["refusals"].split(";") if phrase.strip())


def _read_words(folder: Path) -> dict[str, str]:
    path = folder / "words.yaml"
    try:
        words = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(words, dict) or not all(isinstance(part, str) for pair in words.items() for part in pair):
        raise ConfigError(f'{path}: every line must be `word: "text"`, both in quotes where YAML would read yes or no')
    return words
