"""The recurrent summary: one text as state, rewritten block by block (LLM-TRSR, after RNNs)."""

from collections.abc import Sequence

from trsr.summaries.plan import Plan, Request, SummaryPrompts, Wave


def recurrent(blocks: Sequence[Sequence[str]], prompts: SummaryPrompts) -> Plan:
    """Summarise the first block, then update that summary with each next one: one call per block.

    A call sees nothing but the last summary and its own block, so a new block costs one call. Without
    blocks there is no call and the summary is empty.
    """
    summary = ""
    had: tuple[str, ...] = ()
    for place, block in enumerate(blocks, 1):
        had += tuple(block)
        prompt = prompts.update(summary, block) if summary else prompts.block(block)
        [summary] = yield Wave((Request(prompt, had, summary),), len(blocks) - place)
    return summary
