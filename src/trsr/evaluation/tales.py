"""One user's case as a reader follows it: what was read, how the summary grew, and how the candidates were ranked."""

from collections.abc import Sequence
from dataclasses import dataclass

from trsr.evaluation.run_files import Story
from trsr.evaluation.word_diff import added_words

KINDS = {"drawn": "drawn by the seed", "win": "a win", "loss": "a loss"}

Piece = tuple[str, bool]


@dataclass(frozen=True)
class TaleStep:
    """One summarising step: the items of its block and the summary after it, as (text, is it new) pieces."""

    title: str
    items: Sequence[str]
    summary: Sequence[Piece]
    added: int


@dataclass(frozen=True)
class Tale:
    """A story, why it is told, and its steps."""

    title: str
    note: str
    story: Story
    steps: Sequence[TaleStep]

    @property
    def final(self) -> str:
        """The summary that was ranked with, where it is not that of the last step."""
        last = self.story.steps[-1] if self.story.steps else ""
        return "" if self.story.summary == last else self.story.summary


def tell(story: Story) -> Tale:
    """A story with its title, and in words who put the target where."""
    summary = "no" if story.method == "none" else story.method
    title = f"User {story.user_id}, {KINDS[story.kind]}: {summary} summary, ranked by {story.model}"
    note = f"What the user chose next: {story.target}."
    if story.rank is not None and story.rank_against is not None:
        places = f"{story.model} put it at place {story.rank:g}, {story.against} at {story.rank_against:g}."
        most = {"win": "ahead of", "loss": "behind"}.get(story.kind)
        reason = (
            f" No other user of the test, but for the one drawn, saw it {most} {story.against} by more." if most else ""
        )
        note = f"{note} {places}{reason}"
    return Tale(title, note, story, tale_steps(story))


def tale_steps(story: Story) -> list[TaleStep]:
    """Blocks and summaries side by side; where each summary rewrites the one before it, new words are marked."""
    grows = story.method == "recurrent"
    steps = []
    for index in range(max(len(story.blocks), len(story.steps))):
        in_blocks = index < len(story.blocks)
        after = story.steps[index] if index < len(story.steps) else ""
        before = story.steps[index - 1] if grows and 0 < index < len(story.steps) else after
        summary = added_words(before, after)
        steps.append(
            TaleStep(
                title=f"Block {index + 1}" if in_blocks else "Merged",
                items=story.blocks[index] if in_blocks else [],
                summary=summary,
                added=sum(len(text.split()) for text, new in summary if new),
            )
        )
    return steps
