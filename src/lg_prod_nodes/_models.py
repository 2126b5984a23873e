# pyright: reportPrivateUsage=false
"""Chat models of LangChain, met where a guarded node calls them.

The call goes through the node's policies, and on in a shell of the model: a copy whose innermost methods are those of
the original, with the texts that they give filtered before any callback sees them. `tests/test_langchain_private.py`
says what is relied upon.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from copy import copy
from functools import cache, wraps
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from lg_prod_nodes._engine import Chunk, act, drive, drive_astream, drive_stream
from lg_prod_nodes._functions import filtered_function
from lg_prod_nodes._place import Place, lead, shell
from lg_prod_nodes.call import Call
from lg_prod_nodes.content import cleaned_errors, rewrite
from lg_prod_nodes.streams import EventStream, MessageStream


@cache
def lead_models() -> None:
    """Lead every way to call a chat model."""
    for name, guarded in (
        ("invoke", _invoke),
        ("ainvoke", _ainvoke),
        ("stream", _stream),
        ("astream", _astream),
        ("generate", _generate),
        ("agenerate", _agenerate),
        ("_chat_model_stream_v3", _events),
        ("_achat_model_stream_v3", _events),
    ):
        lead(BaseChatModel, name, guarded)


def _model_call(place: Place, model: Any, input: Any, *, blocking: bool) -> Call:
    is_batch = isinstance(input, list) and input and isinstance(input[0], list)
    messages = input if is_batch else model._convert_input(input).to_messages()
    name = getattr(model, "model_name", None) or getattr(model, "model", None)
    return place.inner(
        kind="model",
        name=str(name or type(model).__name__),
        input=messages,
        blocking=blocking,
        answer_with=_as_message,
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


def _generate(
    place: Place, native: Any, model: Any, messages: Any, *args: Any, **kwargs: Any
) -> Any:
    return _invoke(place, native, model, messages, *args, **kwargs)


async def _agenerate(
    place: Place, native: Any, model: Any, messages: Any, *args: Any, **kwargs: Any
) -> Any:
    return await _ainvoke(place, native, model, messages, *args, **kwargs)


def _stream(
    place: Place, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any
) -> Iterator[Any]:
    async def handler(call: Call) -> Any:
        whole, guarded = None, _model_shell(model, call)
        with closing(native(guarded, call.input, *args, **kwargs)) as chunks:
            for chunk in chunks:
                whole = await _pass(chunk, whole, buffers=place.buffers(call))
        return whole

    call = _model_call(place, model, input, blocking=True)
    return drive_stream(lambda: _flow(place, call, handler))


def _astream(
    place: Place, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any
) -> AsyncIterator[Any]:
    async def handler(call: Call) -> Any:
        whole, guarded = None, _model_shell(model, call)
        async with aclosing(native(guarded, call.input, *args, **kwargs)) as chunks:
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


_INNERMOST = (
    *("_generate", "_agenerate", "_stream", "_astream", "_convert_cached_generations"),
    *("_stream_chat_model_events", "_astream_chat_model_events"),
)


def _model_shell(model: BaseChatModel, call: Call) -> Any:
    guarded = shell(model)
    own = vars(guarded)
    own.update({name: getattr(model, name) for name in _INNERMOST if hasattr(model, name)})
    if not call.filters:
        return guarded

    def filtered(result: ChatResult) -> ChatResult:
        return _filtered_result(result, call)

    def cached(value: list[Any]) -> list[Any]:
        found = model._convert_cached_generations(value)
        return [_filtered_generation(generation, call) for generation in found]

    for name in ("_generate", "_agenerate"):
        own[name] = _telling(filtered_function(own[name], call, after=filtered), call)
    for name in ("_stream", "_astream"):
        own[name] = _through(own[name], MessageStream, call)
    for name in ("_stream_chat_model_events", "_astream_chat_model_events"):
        if name in own:
            own[name] = _through(own[name], EventStream, call)
    own["_convert_cached_generations"] = cached
    return guarded


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
        return {"run_manager": self._filtered(self._manager)}

    def _filtered(self, manager: Any) -> Any:
        filtered, native = copy(manager), manager.on_llm_new_token

        def tell(token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
            for passed in self._passed(token, chunk):
                native(passed.message.content, chunk=passed, **kwargs)

        async def atell(token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
            for passed in self._passed(token, chunk):
                await native(passed.message.content, chunk=passed, **kwargs)

        is_async = inspect.iscoroutinefunction(native)
        vars(filtered)["on_llm_new_token"] = atell if is_async else tell
        if is_async:
            vars(filtered)["get_sync"] = lambda: self._filtered(manager.get_sync())
        return filtered

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
            kwargs.update(_Told(kwargs.get("run_manager"), call).named(method))
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
        kwargs.update(_Told(kwargs.get("run_manager"), call).named(method))
        with cleaned_errors(call.filtered):
            for item in method(*args, **kwargs):
                yield from stream.feed(item)
            yield from stream.flush()

    return tokens
