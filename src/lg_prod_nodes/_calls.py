# pyright: reportPrivateUsage=false
"""Models and tools of LangChain, met where a guarded node calls them.

A node's function calls its model by itself, so nothing around the node can change what the model is asked, or hold back
what it streams. So the methods of LangChain's two base classes through which every call goes first look whether a
guarded node is running. If none is, and for every other graph, they do what they always did. If one is, the call goes
through the node's policies, and on in a shell of the model or tool: a copy whose innermost methods are those of the
original, with the texts that they give filtered before any callback sees them.

The one file that names LangChain's private parts; `tests/test_langchain_private.py` fails when LangChain changes them.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from functools import cache, partial, wraps
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool

from lg_prod_nodes._engine import Chunk, Wrap, act, drive, drive_astream, drive_stream
from lg_prod_nodes._functions import Arguments, filtered_function
from lg_prod_nodes._langgraph import TOOL_OUTPUT
from lg_prod_nodes.call import Call, Kind, TextFilter
from lg_prod_nodes.content import cleaned_errors, rewrite
from lg_prod_nodes.streams import EventStream, MessageStream, PayloadStream

_SHELL = "_is_shell"


@dataclass(frozen=True, slots=True)
class Place:
    """Where models and tools are called: a call, and the policies around what it calls."""

    call: Call
    model: tuple[Wrap, ...] = ()
    tool: tuple[Wrap, ...] = ()
    changing: int = 0
    """How many of the policies around a model may change what it says."""
    content: tuple[Any, ...] = ()
    """The policies of the role `content`, for the graphs that are called."""
    filters: tuple[TextFilter, ...] = ()
    clean: Mapping[int, Any] | None = None
    """The messages of the node's input, which its policies have seen."""

    def buffers(self, call: Call) -> bool:
        """Whether a policy may change what a model says, and does not say how to change it piece by piece."""
        return len(call.filters) - len(self.filters) < self.changing


_PLACE: ContextVar[Place | None] = ContextVar("place", default=None)


@contextmanager
def reaching(place: Place) -> Generator[None]:
    """Let the policies of a place reach the models and tools that are called inside of the block."""
    _install()
    token = _PLACE.set(place)
    try:
        yield
    finally:
        _PLACE.reset(token)


@cache
def _install() -> None:
    for name, guarded in (
        ("invoke", _invoke),
        ("ainvoke", _ainvoke),
        ("stream", _stream),
        ("astream", _astream),
        ("generate", _invoke),
        ("agenerate", _ainvoke),
        ("_chat_model_stream_v3", _events),
        ("_achat_model_stream_v3", _events),
    ):
        lead(BaseChatModel, name, guarded)
    lead(BaseTool, "run", _run)
    lead(BaseTool, "arun", _arun)


def lead(cls: type[Any], name: str, guarded: Callable[..., Any]) -> None:
    """Lead a method of a class through the place, where there is one."""
    native = getattr(cls, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        place = _PLACE.get()
        if place is None or _SHELL in getattr(self, "__dict__", ()):
            return native(self, *args, **kwargs)
        return guarded(place, partial(native), self, *args, **kwargs)

    setattr(cls, name, wraps(native)(method))


def _model_call(place: Place, model: Any, input: Any, *, blocking: bool) -> Call:
    messages = input
    if not (isinstance(input, list) and input and isinstance(input[0], list)):  # a batch
        messages = model._convert_input(input).to_messages()
    name = getattr(model, "model_name", None) or getattr(model, "model", None)
    return _inner(
        place, "model", str(name or type(model).__name__), messages, _as_message, blocking=blocking
    )


def _inner(
    place: Place, kind: Kind, name: str, input: Any, answer_with: Any, *, blocking: bool
) -> Call:
    return place.call.replace(
        kind=kind,
        name=name,
        input=input,
        blocking=blocking,
        filters=place.filters,
        clean=place.clean,
        answer_with=answer_with,
    )


async def _as_message(call: Call, reply: Any) -> Any:
    return AIMessage(reply) if isinstance(reply, str) else reply


def _invoke(place: Place, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    async def handler(call: Call) -> Any:
        return native(_model_shell(model, call), call.input, *args, **kwargs)

    return drive(act(place.model, _model_call(place, model, input, blocking=True), handler))


async def _ainvoke(
    place: Place, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any
) -> Any:
    async def handler(call: Call) -> Any:
        return await native(_model_shell(model, call), call.input, *args, **kwargs)

    return await act(place.model, _model_call(place, model, input, blocking=False), handler)


def _stream(
    place: Place, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any
) -> Iterator[Any]:
    async def handler(call: Call) -> Any:
        shell = _model_shell(model, call)
        whole = None
        with closing(native(shell, call.input, *args, **kwargs)) as chunks:
            for chunk in chunks:
                whole = await _pass(chunk, whole, buffers=place.buffers(call))
        return whole

    call = _model_call(place, model, input, blocking=True)
    return drive_stream(lambda: _flow(place, call, handler))


def _astream(
    place: Place, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any
) -> AsyncIterator[Any]:
    async def handler(call: Call) -> Any:
        shell = _model_shell(model, call)
        whole = None
        async with aclosing(native(shell, call.input, *args, **kwargs)) as chunks:
            async for chunk in chunks:
                whole = await _pass(chunk, whole, buffers=place.buffers(call))
        return whole

    call = _model_call(place, model, input, blocking=False)
    return drive_astream(lambda: _flow(place, call, handler))


async def _pass(chunk: Any, before: Any, *, buffers: bool) -> Any:
    if not buffers:
        await Chunk(chunk)
        return None
    return chunk if before is None else before + chunk


async def _flow(place: Place, call: Call, handler: Any) -> None:
    message = await act(place.model, call, handler)
    if message is not None:  # held back, or an answer in the model's stead
        await Chunk(_as_chunk(message))


def _as_chunk(message: BaseMessage) -> BaseMessage:
    if isinstance(message, AIMessageChunk) or not isinstance(message, AIMessage):
        return message
    return AIMessageChunk(content=message.content, id=message.id, chunk_position="last")


def _events(place: Place, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    """A stream of events is pulled by its reader, so it is filtered, and cannot be wrapped."""

    async def handler(call: Call) -> Any:
        return native(_model_shell(model, call), call.input, *args, **kwargs)

    return drive(act(place.model, _model_call(place, model, input, blocking=True), handler))


def _model_shell(model: BaseChatModel, call: Call) -> Any:
    shell = copy(model)
    own = vars(shell)
    own[_SHELL] = True
    if not call.filters:
        return shell

    def filtered(result: ChatResult) -> ChatResult:
        return _filtered_result(result, call)

    def cached(value: list[Any]) -> list[Any]:
        found = model._convert_cached_generations(value)
        return [_filtered_generation(generation, call) for generation in found]

    for name in ("_generate", "_agenerate"):
        own[name] = _telling(filtered_function(getattr(model, name), call, after=filtered), call)
    own["_stream"] = _through(model._stream, MessageStream, call)
    own["_astream"] = _through(model._astream, MessageStream, call)
    own["_convert_cached_generations"] = cached
    for name in ("_stream_chat_model_events", "_astream_chat_model_events"):
        if (events := getattr(model, name, None)) is not None:
            own[name] = _through(events, EventStream, call)
    return shell


def _telling(method: Callable[..., Any], call: Call) -> Any:
    """A model's method that tells callbacks of its tokens by itself, through a stream of filters."""
    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def awaited(*args: Any, run_manager: Any = None, **kwargs: Any) -> Any:
            told = _Told(run_manager, call)
            result = await method(*args, **kwargs, **told.named(method))
            for chunk in told.stream.flush():
                await run_manager.on_llm_new_token(chunk.message.content, chunk=chunk)
            return result

        return awaited

    @wraps(method)
    def called(*args: Any, run_manager: Any = None, **kwargs: Any) -> Any:
        told = _Told(run_manager, call)
        result = method(*args, **kwargs, **told.named(method))
        for chunk in told.stream.flush():
            run_manager.on_llm_new_token(chunk.message.content, chunk=chunk)
        return result

    return called


class _Told:
    """A callback manager whose tokens are filtered."""

    def __init__(self, manager: Any, call: Call) -> None:
        self.stream = MessageStream(call.filters)
        self._manager = manager

    def named(self, method: Callable[..., Any]) -> dict[str, Any]:
        """The manager as an argument, where the method takes one."""
        if self._manager is None or "run_manager" not in inspect.signature(method).parameters:
            return {}
        manager = copy(self._manager)
        is_async = inspect.iscoroutinefunction(manager.on_llm_new_token)
        vars(manager)["on_llm_new_token"] = self._tell_async if is_async else self._tell
        return {"run_manager": manager}

    def _tell(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        for passed in self._passed(token, chunk):
            self._manager.on_llm_new_token(passed.message.content, chunk=passed, **kwargs)

    async def _tell_async(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        for passed in self._passed(token, chunk):
            await self._manager.on_llm_new_token(passed.message.content, chunk=passed, **kwargs)

    def _passed(self, token: Any, chunk: Any) -> list[ChatGenerationChunk]:
        if not isinstance(chunk, ChatGenerationChunk):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=token))
        return self.stream.feed(chunk)


def _filtered_result(result: ChatResult, call: Call) -> ChatResult:
    generations = [_filtered_generation(generation, call) for generation in result.generations]
    return result.model_copy(update={"generations": generations})


def _filtered_generation(generation: ChatGeneration, call: Call) -> ChatGeneration:
    message = rewrite(generation.message, call.filtered)
    if message is generation.message:
        return generation
    return generation.model_copy(update={"message": message, "text": str(message.text)})


def _through(method: Callable[..., Any], begin: Callable[..., Any], call: Call) -> Any:
    """The method, with the items that it yields sent through a stream of filters."""
    if inspect.isasyncgenfunction(method):

        @wraps(method)
        async def atokens(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            stream = begin(call.filters)
            with cleaned_errors(call.filtered):
                async with aclosing(method(*args, **kwargs)) as items:
                    async for item in items:
                        for passed in stream.feed(item):
                            yield passed
                for passed in stream.flush():
                    yield passed

        return atokens

    @wraps(method)
    def tokens(*args: Any, **kwargs: Any) -> Iterator[Any]:
        stream = begin(call.filters)
        with cleaned_errors(call.filtered):
            for item in method(*args, **kwargs):
                yield from stream.feed(item)
            yield from stream.flush()

    return tokens


def _tool_call(place: Place, tool: BaseTool, input: Any, kwargs: Any, *, blocking: bool) -> Call:
    args = tool._filter_injected_args(input) if isinstance(input, dict) else input
    asked = {"name": tool.name, "args": args, "id": kwargs.get("tool_call_id")}

    async def as_result(call: Call, reply: Any) -> Any:
        if asked["id"] is None or not isinstance(reply, str):
            return reply
        return ToolMessage(reply, tool_call_id=asked["id"], name=tool.name)

    return _inner(place, "tool", tool.name, asked, as_result, blocking=blocking)


def _run(place: Place, native: Any, tool: BaseTool, input: Any, *args: Any, **kwargs: Any) -> Any:
    async def handler(call: Call) -> Any:
        return native(_tool_shell(tool, call), _tool_input(input, call), *args, **kwargs)

    return drive(act(place.tool, _tool_call(place, tool, input, kwargs, blocking=True), handler))


async def _arun(
    place: Place, native: Any, tool: BaseTool, input: Any, *args: Any, **kwargs: Any
) -> Any:
    async def handler(call: Call) -> Any:
        return await native(_tool_shell(tool, call), _tool_input(input, call), *args, **kwargs)

    return await act(place.tool, _tool_call(place, tool, input, kwargs, blocking=False), handler)


def _tool_input(input: Any, call: Call) -> Any:
    args = call.input["args"]
    return {**input, **args} if isinstance(input, dict) else args


def _tool_shell(tool: BaseTool, call: Call) -> Any:
    shell = copy(tool)
    own = vars(shell)
    own[_SHELL] = True
    if call.filters:
        for name in ("_run", "_arun"):
            own[name] = filtered_function(
                getattr(tool, name),
                call,
                inside=lambda: _tool_output(call),
                before=lambda args, kwargs: _revealed(args, kwargs, call),
            )
    return shell


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
    output = PayloadStream(write, call.filtered)
    token = TOOL_OUTPUT.set(output)
    try:
        yield
    finally:
        TOOL_OUTPUT.reset(token)
        output.flush()
