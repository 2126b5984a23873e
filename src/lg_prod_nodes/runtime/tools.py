# pyright: reportPrivateUsage=false
"""LangChain tools and retrievers as a guarded node calls them; `models.py` does the same for models."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from lg_prod_nodes.content.functions import Arguments
from lg_prod_nodes.content.payload_stream import PayloadStream
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.engine import send
from lg_prod_nodes.runtime.langgraph import TOOL_OUTPUT
from lg_prod_nodes.runtime.model_shell import filtered_copy
from lg_prod_nodes.runtime.scope import Scope


def _run(
    blocking: bool, scope: Scope, native: Any, tool: BaseTool, input: Any, *args: Any, **kwargs: Any
) -> Any:
    given = tool._filter_injected_args(input) if isinstance(input, dict) else input
    asked = {"name": tool.name, "args": given, "id": kwargs.get("tool_call_id")}

    async def as_result(call: Call, reply: Any) -> Any:
        if asked["id"] is None or not isinstance(reply, str):
            return reply
        return ToolMessage(reply, tool_call_id=asked["id"], name=tool.name)

    async def handler(call: Call) -> Any:
        guarded = filtered_copy(
            tool,
            call,
            ("_run", "_arun"),
            inside=lambda: _output(call),
            before=lambda args, kwargs: _revealed(args, kwargs, call),
        )
        ran = native(guarded, _with_args(input, call), *args, **kwargs)
        return ran if call.blocking else await ran

    call = scope.inner("tool", tool.name, input=asked, blocking=blocking, answer_with=as_result)
    return send(scope.policies.tool, call, handler)


def _with_args(input: Any, call: Call) -> Any:
    args = call.input["args"]
    return {**input, **args} if isinstance(input, dict) else args


def _revealed(args: tuple[Any, ...], kwargs: dict[str, Any], call: Call) -> Arguments:
    """The arguments for a tool's own method, with tokens replaced by originals that no callback has seen."""
    if not call.texts.originals:
        return args, kwargs
    asked, revealed = call.input["args"], call.texts.revealed
    shown = {n: rewrite(v, revealed) if n in asked else v for n, v in kwargs.items()}
    return rewrite(args, revealed), shown


@contextmanager
def _output(call: Call) -> Generator[None]:
    """Filter what a tool writes while it runs."""
    write = TOOL_OUTPUT.get()
    if write is None:
        yield
        return
    output = PayloadStream(write, call.texts.filters)
    token = TOOL_OUTPUT.set(output)
    try:
        yield
    finally:
        TOOL_OUTPUT.reset(token)
        output.flush()


def _retrieve(
    blocking: bool, scope: Scope, native: Any, retriever: Any, query: Any, *args: Any, **kwargs: Any
) -> Any:
    name = retriever.get_name()

    async def as_documents(call: Call, reply: Any) -> Any:
        return [Document(page_content=reply)] if isinstance(reply, str) else reply

    async def handler(call: Call) -> Any:
        guarded = filtered_copy(retriever, call, _INNERMOST)
        found = native(guarded, call.input["args"]["query"], *args, **kwargs)
        return found if call.blocking else await found

    asked = {"name": name, "args": {"query": query}, "id": None}
    call = scope.inner("tool", name, input=asked, blocking=blocking, answer_with=as_documents)
    return send(scope.policies.retriever, call, handler)


_INNERMOST = ("_get_relevant_documents", "_aget_relevant_documents")

Guarded = Callable[..., Any]

OF_TOOLS: Mapping[str, Guarded] = {"run": partial(_run, True), "arun": partial(_run, False)}
OF_RETRIEVERS: Mapping[str, Guarded] = {
    "invoke": partial(_retrieve, True),
    "ainvoke": partial(_retrieve, False),
}
