"""The hierarchical summary: blocks on their own, then merged level by level (LLM-TRSR, after CNNs)."""

from collections.abc import Sequence
from dataclasses import dataclass

from trsr.errors import ConfigError
from trsr.summaries.plan import Plan, Request, SummaryPrompts, Wave
from trsr.summaries.segments import segment_by_count


@dataclass(frozen=True)
class _Node:
    """A summary in the tree, and the items under it."""

    text: str
    items: tuple[str, ...]


def hierarchical(blocks: Sequence[Sequence[str]], prompts: SummaryPrompts) -> Plan:
    """Summarise every block, then merge groups of up to `prompts.fan_in` summaries until one is left.

    With up to `fan_in` blocks this is the paper's tree of blocks + 1 calls; one block needs no merge, and
    without blocks there is no call and the summary is empty. Groups are filled from the oldest on and not
    evened out, for then a new block costs one leaf and the merges above it: no older group changes. A
    summary alone in its group goes up a level without a call.

    Raises `ConfigError` where `prompts.fan_in` is below 2, for such a tree never ends.
    """
    if prompts.fan_in < 2:
        raise ConfigError("two summaries do not fit into one merge prompt; raise summaries.max_prompt_tokens")
    if not blocks:
        return ""
    leaves = tuple(Request(prompts.block(block), tuple(block)) for block in blocks)
    texts = yield Wave(leaves, _levels(len(blocks), prompts.fan_in))
    level = [_Node(text, leaf.items) for text, leaf in zip(texts, leaves, strict=True)]
    while len(level) > 1:
        groups = segment_by_count(level, prompts.fan_in)
        merges = tuple(_merge(group, prompts) for group in groups if len(group) > 1)
        texts = yield Wave(merges, _levels(len(groups), prompts.fan_in))
        merged = [_Node(text, merge.items) for text, merge in zip(texts, merges, strict=True)]
        level = merged + [group[0] for group in groups if len(group) == 1]
    return level[0].text


def _merge(group: Sequence[_Node], prompts: SummaryPrompts) -> Request:
    return Request(prompts.merge([node.text for node in group]), tuple(item for node in group for item in node.items))


def _levels(count: int, fan_in: int) -> int:
    """How many levels of merges stand above `count` summaries."""
    levels = 0
    while count > 1:
        count, levels = -(-count // fan_in), levels + 1
    return levels
