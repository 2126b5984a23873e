# pyright: reportPrivateUsage=false
"""LangChain tools and retrievers as a guarded node calls them; `models.py` does the same for models."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from pydantic import ValidationError

from lg_prod_nodes.content.payload_stream import PayloadStream
from lg_prod_nodes.content.walk import Rewrite, cleaned_errors, rewrite
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
        guarded = filtered_copy(tool, call, ("_run", "_arun"), inside=lambda: _output(call))
        if call.texts.reveal is not None:
            vars(guarded)["_to_args_and_kwargs"] = partial(_with_originals, tool, call)
        ran = native(guarded, _with_args(input, call), *args, **kwargs)
        return ran if call.blocking else await ran

    call = scope.inner("tool", tool.name, input=asked, blocking=blocking, answer_with=as_result)
    return send(scope.policies.tool, call, handler)


def _with_args(input: Any, call: Call) -> Any:
    args = call.input["args"]
    return {**input, **args} if isinstance(input, dict) else args


def _with_originals(tool: BaseTool, call: Call, given: Any, *args: Any) -> Any:
    """The arguments for a tool's own method, validated with originals in place of tokens; no callback sees them."""
    asked, reveal = call.input["args"], cast(Rewrite, call.texts.reveal)
    if isinstance(given, dict):
        given = {n: rewrite(v, reveal) if n in asked else v for n, v in given.items()}
    else:
        given = rewrite(given, reveal)
    with cleaned_errors(call.texts.filtered):
        try:
            return tool._to_args_and_kwargs(given, *args)
        except ValidationError as error:
            numbers = _numbers(error, asked)
            if not numbers:
                raise
            for path, number in numbers.items():
                given = _put(given, path, number)
            return tool._to_args_and_kwargs(given, *args)


def _numbers(error: ValidationError, asked: Any) -> dict[tuple[Any, ...], int]:
    """The originals that a schema wants as numbers, such as `+1 415-555-2671`, as numbers, by their place."""
    found: dict[tuple[Any, ...], int] = {}
    for line in error.errors(include_url=False):
        token, original = _at(asked, line["loc"]), line["input"]
        if line["type"] not in ("int_parsing", "float_parsing") or token == original:
            continue
        if digits := "".join(filter(str.isdecimal, original)):
            found[line["loc"]] = int(digits)
    return found


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
    return value


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy(value)
    changed[path[0]] = _put(value[path[0]], path[1:], new)
    return changed


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
