"""What an import found and did, in counts that a person and a program can read."""

from dataclasses import asdict, dataclass, field
from typing import Any

from trsr import __version__
from trsr.data.importing.quarantine import NAME as QUARANTINE


@dataclass(frozen=True)
class FileCount:
    """How many rows a file had, and how many of them were bad."""

    file: str
    rows: int
    bad: int


@dataclass
class ImportReport:
    """What an import found and did; the content of `import.json`.

    `recognised` says how the format was told, `removed` how many events each filter took out, `cleaned` how many
    texts each clean-up changed.
    """

    format: str
    recognised: str
    version: str = __version__
    items: int = 0
    users: int = 0
    events: int = 0
    impressions: int = 0
    attributes: list[str] = field(default_factory=list)
    files: list[FileCount] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)
    cleaned: dict[str, int] = field(default_factory=dict)
    item_copies: int = 0
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def bad(self) -> int:
        """Bad rows of all files."""
        return sum(count.bad for count in self.files)

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, ready for JSON."""
        return asdict(self) | {"bad": self.bad}

    def lines(self) -> list[str]:
        """What a person is told."""
        told = [f"format {self.format} ({self.recognised})"]
        told += [f"{count.file}: {count.rows:,} rows, {count.bad:,} bad" for count in self.files]
        if self.bad:
            told.append(f"{self.bad:,} bad rows, each with its reason, in {QUARANTINE}")
        told += [f"cleaned: {count:,} values, {what}" for what, count in self.cleaned.items() if count]
        if self.item_copies:
            told.append(f"{self.item_copies:,} items were described again, word for word: dropped")
        told += [f"removed: {count:,} events {what}" for what, count in self.removed.items() if count]
        told += self.notes
        size = f"{self.users:,} users, {self.events:,} events, {self.items:,} items"
        sets = f", {self.impressions:,} impressions" if self.impressions else ""
        return [*told, f"{size}{sets}; attributes: {', '.join(self.attributes)}; {self.seconds:.1f} s"]
