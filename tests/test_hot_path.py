"""What the policies cost where nothing else does: executed bytecode instructions, a count and not a timing.

`benchmarks/bench_overhead.py` has the times. A change that makes the hot path longer fails here; if it is worth that,
raise the figure in the same commit and say why.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from benchmarks import bench_overhead as bench

from lg_prod_nodes import harden

INPUT = {"words": ["start"]}
MOST = {"sync": (1.03, 1.33), "async": (0.93, 1.15)}
"""Executed instructions against the bare graph: one policy that does nothing, and all seven default policies."""
GROWTH = 1.03


def instructions(act: Callable[[], object]) -> int:
    """The bytecode instructions that a function executes in this thread, itself and all that it calls."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def ran(graph: Any, way: str) -> int:
    """The instructions of a run, once everything that is made on first use is there."""
    if way == "sync":
        graph.invoke(INPUT), graph.invoke(INPUT)
        return instructions(lambda: graph.invoke(INPUT))
    with asyncio.Runner() as runner:
        for _ in range(2):
            runner.run(graph.ainvoke(INPUT))
        return instructions(lambda: runner.run(graph.ainvoke(INPUT)))


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the counts are those of CPython 3.11")
def test_the_hot_path_executes_no_more_instructions_than_stated(way: str) -> None:
    stacks = list(bench.stacks().values())
    graphs = [
        bench.chain().compile(),
        *(harden(bench.chain(), policies).compile() for policies in (stacks[0], stacks[-1])),
    ]
    bare, *hardened = (ran(graph, way) for graph in graphs)
    ratios = [round(count / bare, 3) for count in hardened]
    print(way, ratios)
    for ratio, most in zip(ratios, MOST[way], strict=True):
        assert ratio <= most * GROWTH, f"{way}: {ratios} against {MOST[way]}"
