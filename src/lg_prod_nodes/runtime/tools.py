# pyright: reportPrivateUsage=false
"""Tools of LangChain, met where a guarded node runs them; see `models.py`, which does the same for models."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from lg_prod_nodes.content.functions import Arguments, filtered_function
from lg_prod_nodes.content.payload_stream import PayloadStream
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.runtime.langgraph import TOOL_OUTPUT
from lg_prod_nodes.runtime.scope import Place, lead_below, send, shell


def lead_tools() -> None:
    """Lead both ways to run a tool."""
    lead_below(BaseTool, _METHODS)


def _tool_call(place: Place, tool: BaseTool, input: Any, kwargs: Any, *, blocking: bool) -> Call:
    args = tool._filter_injected_args(input) if isinstance(input, dict) else input
    asked = {"name": tool.name, "args": args, "id": kwargs.get("tool_call_id")}

    async def as_result(call: Call, reply: Any) -> Any:
        if asked["id"] is None or not isinstance(reply, str):
            return reply
        return ToolMessage(reply, tool_call_id=asked["id"], name=tool.name)

    return place.inner(
        kind="tool", name=tool.name, input=asked, blocking=blocking, answer_with=as_result
    )


def _run(
    blocking: bool, place: Place, native: Any, tool: BaseTool, input: Any, *args: Any, **kwargs: Any
) -> Any:
    return send(
        place.tool,
        _tool_call(place, tool, input, kwargs, blocking=blocking),
        lambda call: native(_tool_shell(tool, call), _with_args(input, call), *args, **kwargs),
    )


_METHODS = {"run": partial(_run, True), "arun": partial(_run, False)}


def _with_args(input: Any, call: Call) -> Any:
    args = call.input["args"]
    return {**input, **args} if isinstance(input, dict) else args


def _tool_shell(tool: BaseTool, call: Call) -> Any:
    guarded = shell(tool)
    own = vars(guarded)
    for name in ("_run", "_arun"):
        method = getattr(tool, name)
        own[name] = _filtered_method(method, call) if call.filters else method
    return guarded


def _filtered_method(method: Any, call: Call) -> Any:
    return filtered_function(
        method,
        call,
        inside=lambda: _tool_output(call),
        before=lambda args, kwargs: _revealed(args, kwargs, call),
    )


def _revealed(args: tuple[Any, ...], kwargs: dict[str, Any], call: Call) -> Arguments:
    """What a tool's own method gets: originals in the place of tokens, which no callback has seen."""
    asked = call.input["args"] if call.originals else ()
    shown = {n: rewrite(v, call.revealed) if n in asked else v for n, v in kwargs.items()}
    return rewrite(args, call.revealed) if call.originals else args, shown


@contextmanager
def _tool_output(call: Call) -> Generator[None]:
    """Filter what a tool writes while it runs."""
    write = TOOL_OUTPUT.get()
    if write is None:
        yield
        return
    output = PayloadStream(write, call.filters)
    token = TOOL_OUTPUT.set(output)
    try:
        yield
    finally:
        TOOL_OUTPUT.reset(token)
        output.flush()
