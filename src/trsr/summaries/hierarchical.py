"""The hierarchical summary: blocks on their own, then merged level by level (LLM-TRSR, after CNNs)."""

from collections.abc import Sequence

from trsr.errors import ConfigError
from trsr.summaries.plan import Plan, SummaryPrompts
from trsr.summaries.segments import segment_by_count


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
    level = yield [prompts.block(block) for block in blocks]
    while len(level) > 1:
        groups = segment_by_count(level, prompts.fan_in)
        merged = yield [prompts.merge(group) for group in groups if len(group) > 1]
        level = merged + [group[0] for group in groups if len(group) == 1]
    return level[0] if level else ""
