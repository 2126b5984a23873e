# pyright: reportPrivateUsage=false
"""Clones of models whose innermost methods filter what the original's return.

A model's output is filtered before any callback sees it. `tests/test_langchain_private.py` states what this
depends on.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
)
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from functools import partial, wraps
from typing import Any, TypeVar

from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    GenerationChunk,
)

from lg_prod_nodes.content.functions import filtered_function
from lg_prod_nodes.content.message_stream import EventStream, MessageStream
from lg_prod_nodes.content.walk import cleaned_errors, rewrite
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.runtime.callbacks import with_watch
from lg_prod_nodes.runtime.langgraph import note_progress

T = TypeVar("T")

_SHELL = "_lg_prod_nodes_shell"


def shell(original: T) -> T:
    """A clone that bypasses the patches and may have methods of its own; the original is unchanged."""
    copied = copy(original)
    vars(copied)[_SHELL] = True
    return copied


def is_shell(thing: object) -> bool:
    """Whether an object is such a clone."""
    return _SHELL in getattr(thing, "__dict__", ())


@contextmanager
def closed(items: Any) -> Generator[Any]:
    """Yield an iterator and close it after the block, if it can be closed."""
    try:
        yield items
    finally:
        if hasattr(items, "close"):
            items.close()


@asynccontextmanager
async def aclosed(items: Any) -> AsyncGenerator[Any]:
    """Async version of `closed`."""
    try:
        yield items
    finally:
        if hasattr(items, "aclose"):
            await items.aclose()


async def _done(given: Any) -> Any:
    """The result of a method, sync or async."""
    return await given if isinstance(given, Awaitable) else given


def filtered_copy(thing: T, call: Call, names: tuple[str, ...], **adaptions: Any) -> T:
    """A clone whose innermost methods filter the results and errors of the original's.

    Args:
        thing: A model, tool or retriever.
        call: Its call.
        names: The methods that do the work.
        **adaptions: Further options of `filtered_function`.
    """
    guarded = shell(thing)
    for name in names:
        method = getattr(thing, name)
        vars(guarded)[name] = (
            filtered_function(method, call, **adaptions) if call.texts.filters else method
        )
    return guarded


_INNERMOST = (
    *("_stream", "_astream", "_convert_cached_generations"),
    *("_stream_chat_model_events", "_astream_chat_model_events"),
)


def _whole(model: Any) -> tuple[str, str]:
    """The names of the innermost methods that return the whole output at once."""
    by_prompt = isinstance(model, LLM) and type(model)._generate is LLM._generate
    return ("_call", "_acall") if by_prompt else ("_generate", "_agenerate")


def shell_of(model: Any, call: Call) -> Any:
    """A clone of a model that calls the original and filters its texts before any callback sees them."""
    guarded, whole = shell(model), _whole(model)
    own = vars(guarded)
    names = (*whole, *_INNERMOST)
    own.update({name: getattr(model, name) for name in names if hasattr(model, name)})
    own["callbacks"] = with_watch(model.callbacks, call)
    if not call.texts.filters:
        return guarded

    def cached(value: list[Any]) -> list[Any]:
        found = model._convert_cached_generations(value)
        return [_filtered_generation(generation, call) for generation in found]

    pieces = _Messages if isinstance(model, BaseChatModel) else _Texts
    tokens = partial(pieces, call.texts.filters, partial(note_progress, call.runtime))
    events = partial(EventStream, call.texts.filters)
    filtered = partial(_filtered_result, call=call)
    for name, blocking in zip(whole, (True, False), strict=True):
        telling = _telling(own[name], tokens, blocking=blocking)
        own[name] = filtered_function(telling, call, after=filtered)
    for name, blocking in (("_stream", True), ("_astream", False)):
        own[name] = _through(own[name], tokens, tokens, call, blocking=blocking)
        if (native := f"{name}_chat_model_events") in own:
            own[native] = _through(own[native], events, tokens, call, blocking=blocking)
    own["_convert_cached_generations"] = cached
    return guarded


class _Messages(MessageStream):
    """Filters the chunks of a message, including the provider's extra fields."""

    def feed(self, chunk: ChatGenerationChunk) -> list[Any]:
        """The chunks ready to leave after this one."""
        if chunk.generation_info:
            info = rewrite(chunk.generation_info, self._filtered)
            chunk = chunk.model_copy(update={"generation_info": info})
        return super().feed(chunk)


class _Texts(MessageStream):
    """Filters the chunks of a text model, as those of a message that holds only text."""

    def feed(self, chunk: Any) -> list[Any]:
        """The chunks ready to leave after this one."""
        if not isinstance(chunk, ChatGenerationChunk):
            chunk = _message_chunk(chunk.text, chunk)
        return [_text_chunk(passed) for passed in super().feed(chunk)]

    def flush(self) -> list[Any]:
        """The chunks still held back, at the end."""
        return [_text_chunk(passed) for passed in super().flush()]


def _message_chunk(token: Any, chunk: Any) -> ChatGenerationChunk:
    info = getattr(chunk, "generation_info", None) or {}
    return ChatGenerationChunk(message=AIMessageChunk(content=token, response_metadata=info))


def _text_chunk(chunk: ChatGenerationChunk) -> GenerationChunk:
    info = chunk.message.response_metadata or None
    return GenerationChunk(text=str(chunk.message.content), generation_info=info)


class _TokenCallbacks:
    """Filters the tokens that a model reports to callbacks on its own."""

    def __init__(self, kwargs: dict[str, Any], stream: Any) -> None:
        self._stream = stream
        self._manager = kwargs.get("run_manager")
        if self._manager is not None:
            kwargs["run_manager"] = self._filtered(self._manager)

    async def flush(self) -> None:
        """Report the tokens still held back."""
        await self._tell(self._manager, self._stream.flush())

    def _filtered(self, manager: Any) -> Any:
        async def on_token(token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
            known = isinstance(chunk, ChatGenerationChunk)
            await self._tell(
                manager,
                self._stream.feed(chunk if known else _message_chunk(token, chunk)),
                **kwargs,
            )

        filtered, is_async = copy(manager), hasattr(manager, "get_sync")
        vars(filtered)["on_llm_new_token"] = on_token if is_async else _driven(on_token)
        if is_async:
            vars(filtered)["get_sync"] = lambda: self._filtered(manager.get_sync())
        return filtered

    async def _tell(self, manager: Any, chunks: list[Any], **kwargs: Any) -> None:
        for chunk in chunks:
            said = chunk.message.content if hasattr(chunk, "message") else chunk.text
            await _done(manager.on_llm_new_token(said, chunk=chunk, **kwargs))


def _driven(flow: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: drive(flow(*args, **kwargs))


def _telling(method: Callable[..., Any], begin: Callable[[], Any], *, blocking: bool) -> Any:
    """The method, with the tokens that it reports filtered."""

    async def flow(*args: Any, **kwargs: Any) -> Any:
        callbacks = _TokenCallbacks(kwargs, begin())
        result = await _done(method(*args, **kwargs))
        await callbacks.flush()
        return result

    return wraps(method)(_driven(flow) if blocking else flow)


def _filtered_result(result: Any, call: Call) -> Any:
    if not isinstance(result, ChatResult):
        return rewrite(result, call.texts.filtered)
    generations = [_filtered_generation(generation, call) for generation in result.generations]
    beside = rewrite(result.llm_output, call.texts.filtered)
    return result.model_copy(update={"generations": generations, "llm_output": beside})


def _filtered_generation(generation: ChatGeneration, call: Call) -> ChatGeneration:
    message = rewrite(generation.message, call.texts.filtered)
    info = rewrite(generation.generation_info, call.texts.filtered)
    if message is generation.message and info is generation.generation_info:
        return generation
    text = generation.text if message is generation.message else str(message.text)
    changed = {"message": message, "text": text, "generation_info": info}
    return generation.model_copy(update=changed)


def _through(method: Any, begin: Any, tokens: Any, call: Call, *, blocking: bool) -> Any:
    """The method, with the items that it yields and the tokens that it reports filtered.

    Every token passes through here, so there is one generator for sync and one for async, without a driver.
    """

    async def asynchronous(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        stream, callbacks = begin(), _TokenCallbacks(kwargs, tokens())
        with cleaned_errors(call.texts.filtered):
            async with aclosed(method(*args, **kwargs)) as items:
                async for item in items:
                    for passed in stream.feed(item):
                        yield passed
            await callbacks.flush()
            for passed in stream.flush():
                yield passed

    def synchronous(*args: Any, **kwargs: Any) -> Iterator[Any]:
        stream, callbacks = begin(), _TokenCallbacks(kwargs, tokens())
        with cleaned_errors(call.texts.filtered):
            with closed(method(*args, **kwargs)) as items:
                for item in items:
                    yield from stream.feed(item)
            drive(callbacks.flush())
            yield from stream.flush()

    return wraps(method)(synchronous if blocking else asynchronous)
