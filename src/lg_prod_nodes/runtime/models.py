# pyright: reportPrivateUsage=false
"""Models of LangChain, of messages and of texts, met where a guarded node calls them.

The call goes through the node's policies, and on in a shell of the model: a copy whose innermost methods are those of
the original, with the texts that they give filtered before any callback sees them. `tests/test_langchain_private.py`
says what is relied upon.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from functools import partial, wraps
from typing import Any

from langchain_core.language_models import LLM, BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    GenerationChunk,
    LLMResult,
)

from lg_prod_nodes.content.functions import filtered_function
from lg_prod_nodes.content.message_stream import EventStream, MessageStream
from lg_prod_nodes.content.walk import cleaned_errors, rewrite
from lg_prod_nodes.core.call import Call, through
from lg_prod_nodes.core.engine import Chunk, act, drive, drive_astream, drive_stream
from lg_prod_nodes.core.tokens import schemas_in
from lg_prod_nodes.runtime.callbacks import with_watch
from lg_prod_nodes.runtime.scope import Place, lead_below, send, shell


def lead_models() -> None:
    """Lead every way to call a model."""
    lead_below(BaseChatModel, _OF_MESSAGES)
    lead_below(BaseLLM, _OF_TEXTS)


_MOST_OUTPUT = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""What providers call the most that a model is asked to say."""


def most_output(model: Any, options: Mapping[str, Any]) -> int | None:
    """The most tokens that a model is asked to say, by the options of a call or its own; `None` if it is not told."""
    said = (options.get(name) or getattr(model, name, None) for name in _MOST_OUTPUT)
    return next((most for most in said if isinstance(most, int)), None)


def _model_call(
    place: Place, model: Any, asked: list[Any], answer: Any, options: Any, *, blocking: bool
) -> Call:
    name = getattr(model, "model_name", None) or getattr(model, "model", None)
    return place.inner(
        kind="model",
        name=str(name or type(model).__name__),
        input=asked,
        max_output_tokens=most_output(model, options),
        schemas=schemas_in(options),
        spent=[],
        blocking=blocking,
        answer_with=answer,
    )


async def _as_message(call: Call, reply: Any) -> Any:
    return AIMessage(reply) if isinstance(reply, str) else reply


async def _as_it_is(call: Call, reply: Any) -> Any:
    return reply


async def _as_result(call: Call, reply: Any) -> Any:
    if isinstance(reply, LLMResult):
        return reply
    message = await _as_message(call, reply)
    return LLMResult(generations=[[ChatGeneration(message=message)] for _ in call.input])


def _ask(
    answer: Any,
    blocking: bool,
    place: Place,
    native: Any,
    model: Any,
    asked: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    return send(
        place.model,
        _model_call(place, model, asked, answer, kwargs, blocking=blocking),
        lambda call: native(
            _model_shell(model, call, metered=place.metered), call.input, *args, **kwargs
        ),
    )


def _invoke(
    blocking: bool, place: Place, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any
) -> Any:
    messages = model._convert_input(input).to_messages()
    return _ask(_as_message, blocking, place, native, model, messages, *args, **kwargs)


def _stream(
    start: Any, place: Place, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any
) -> Any:
    prompt, speaks = model._convert_input(input), isinstance(model, BaseChatModel)

    async def handler(call: Call) -> Any:
        whole, given = None, call.input if speaks else call.input[0]
        buffers = place.buffers(call)
        chunks = native(_model_shell(model, call, metered=place.metered), given, *args, **kwargs)
        if call.blocking:
            with _closed(chunks):
                for chunk in chunks:
                    whole = await _pass(chunk, whole, buffers=buffers)
        else:
            async with _aclosed(chunks):
                async for chunk in chunks:
                    whole = await _pass(chunk, whole, buffers=buffers)
        return whole

    asked = prompt.to_messages() if speaks else [prompt.to_string()]
    answer = _as_message if speaks else _as_it_is
    call = _model_call(place, model, asked, answer, kwargs, blocking=start is drive_stream)
    return start(lambda: _flow(place, call, handler))


@contextmanager
def _closed(items: Any) -> Generator[Any]:
    """An iterator, which is closed after the block if it can be."""
    try:
        yield items
    finally:
        if hasattr(items, "close"):
            items.close()


@asynccontextmanager
async def _aclosed(items: Any) -> AsyncGenerator[Any]:
    """Like `_closed`."""
    try:
        yield items
    finally:
        if hasattr(items, "aclose"):
            await items.aclose()


async def _done(given: Any) -> Any:
    """What a method gives, whether it is asynchronous or not."""
    return await given if isinstance(given, Awaitable) else given


async def _pass(chunk: Any, before: Any, *, buffers: bool) -> Any:
    if not buffers:
        await Chunk(chunk)
        return None
    return chunk if before is None else before + chunk


async def _flow(place: Place, call: Call, handler: Any) -> None:
    message = await act(place.model, call, handler)
    if message is not None:  # held back, or an answer in the model's stead
        await Chunk(_as_chunk(message))


def _as_chunk(message: Any) -> Any:
    if isinstance(message, AIMessageChunk) or not isinstance(message, AIMessage):
        return message
    return AIMessageChunk(content=message.content, id=message.id, chunk_position="last")


_OF_TEXTS = {
    "generate": partial(_ask, _as_result, True),
    "agenerate": partial(_ask, _as_result, False),
    "stream": partial(_stream, drive_stream),
    "astream": partial(_stream, drive_astream),
}
_OF_MESSAGES = {
    **_OF_TEXTS,
    "invoke": partial(_invoke, True),
    "ainvoke": partial(_invoke, False),
    # A stream of events is pulled by its reader, so it is filtered, and cannot be wrapped.
    "_chat_model_stream_v3": partial(_invoke, True),
    "_achat_model_stream_v3": partial(_invoke, False),
}
_INNERMOST = (
    *("_stream", "_astream", "_convert_cached_generations"),
    *("_stream_chat_model_events", "_astream_chat_model_events"),
)


def _whole(model: Any) -> tuple[str, str]:
    """The innermost methods that give what a model says at once."""
    by_prompt = isinstance(model, LLM) and type(model)._generate is LLM._generate
    return ("_call", "_acall") if by_prompt else ("_generate", "_agenerate")


def _model_shell(model: Any, call: Call, *, metered: bool) -> Any:
    guarded, whole = shell(model), _whole(model)
    own = vars(guarded)
    names = (*whole, *_INNERMOST)
    own.update({name: getattr(model, name) for name in names if hasattr(model, name)})
    if metered:
        own["callbacks"] = with_watch(model.callbacks, call)
    if not call.filters:
        return guarded

    def cached(value: list[Any]) -> list[Any]:
        found = model._convert_cached_generations(value)
        return [_filtered_generation(generation, call) for generation in found]

    tokens = partial(_Messages if isinstance(model, BaseChatModel) else _Texts, call.filters)
    events = partial(EventStream, call.filters)
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
    """The chunks of a message, with what a provider says beside it."""

    def feed(self, chunk: ChatGenerationChunk) -> list[Any]:
        """The chunks that may leave, given the next one."""
        if chunk.generation_info:
            info = rewrite(chunk.generation_info, partial(through, self._filters))
            chunk = chunk.model_copy(update={"generation_info": info})
        return super().feed(chunk)


class _Texts(MessageStream):
    """The chunks of a text of a model, as those of a message that has nothing else."""

    def feed(self, chunk: Any) -> list[Any]:
        """The chunks that may leave, given the next one."""
        if not isinstance(chunk, ChatGenerationChunk):
            chunk = _message_chunk(chunk.text, chunk)
        return [_text_chunk(passed) for passed in super().feed(chunk)]

    def flush(self) -> list[Any]:
        """What is left after the last chunk."""
        return [_text_chunk(passed) for passed in super().flush()]


def _message_chunk(token: Any, chunk: Any) -> ChatGenerationChunk:
    info = getattr(chunk, "generation_info", None) or {}
    return ChatGenerationChunk(message=AIMessageChunk(content=token, response_metadata=info))


def _text_chunk(chunk: ChatGenerationChunk) -> GenerationChunk:
    info = chunk.message.response_metadata or None
    return GenerationChunk(text=str(chunk.message.content), generation_info=info)


class _Told:
    """What a model tells callbacks of its tokens by itself, through a stream of filters."""

    def __init__(self, kwargs: dict[str, Any], stream: Any) -> None:
        self._stream = stream
        self._manager = kwargs.get("run_manager")
        if self._manager is not None:
            kwargs["run_manager"] = self._filtered(self._manager)

    async def flush(self) -> None:
        """Tell what is left."""
        await self._tell(self._manager, self._stream.flush())

    def _filtered(self, manager: Any) -> Any:
        async def told(token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
            known = isinstance(chunk, ChatGenerationChunk)
            await self._tell(
                manager,
                self._stream.feed(chunk if known else _message_chunk(token, chunk)),
                **kwargs,
            )

        filtered, is_async = copy(manager), hasattr(manager, "get_sync")
        vars(filtered)["on_llm_new_token"] = told if is_async else _driven(told)
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
    """The method, with what it tells of its tokens filtered."""

    async def flow(*args: Any, **kwargs: Any) -> Any:
        told = _Told(kwargs, begin())
        result = await _done(method(*args, **kwargs))
        await told.flush()
        return result

    return wraps(method)(_driven(flow) if blocking else flow)


def _filtered_result(result: Any, call: Call) -> Any:
    if not isinstance(result, ChatResult):
        return rewrite(result, call.filtered)
    generations = [_filtered_generation(generation, call) for generation in result.generations]
    beside = rewrite(result.llm_output, call.filtered)
    return result.model_copy(update={"generations": generations, "llm_output": beside})


def _filtered_generation(generation: ChatGeneration, call: Call) -> ChatGeneration:
    message = rewrite(generation.message, call.filtered)
    info = rewrite(generation.generation_info, call.filtered)
    if message is generation.message and info is generation.generation_info:
        return generation
    text = generation.text if message is generation.message else str(message.text)
    changed = {"message": message, "text": text, "generation_info": info}
    return generation.model_copy(update=changed)


def _through(method: Any, begin: Any, tokens: Any, call: Call, *, blocking: bool) -> Any:
    """The method, with the items that it yields, and what it tells by itself, through streams of filters.

    Each token passes here, so there is a generator of either kind, and no driver.
    """

    async def asynchronous(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        stream, told = begin(), _Told(kwargs, tokens())
        with cleaned_errors(call.filtered):
            async with _aclosed(method(*args, **kwargs)) as items:
                async for item in items:
                    for passed in stream.feed(item):
                        yield passed
            await told.flush()
            for passed in stream.flush():
                yield passed

    def synchronous(*args: Any, **kwargs: Any) -> Iterator[Any]:
        stream, told = begin(), _Told(kwargs, tokens())
        with cleaned_errors(call.filtered):
            with _closed(method(*args, **kwargs)) as items:
                for item in items:
                    yield from stream.feed(item)
            drive(told.flush())
            yield from stream.flush()

    return wraps(method)(synchronous if blocking else asynchronous)
