# pyright: reportPrivateUsage=false
"""LangChain models as a guarded node calls them: chat models, text models, decision models and embeddings.

A call passes through the node's policies and continues in a clone of the model (`model_shell.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, LLMResult

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.engine import Chunk, Flow, act, drive_astream, drive_stream, send
from lg_prod_nodes.core.usage import CallRequest, most_output, schemas_in
from lg_prod_nodes.runtime.callbacks import OF_TEXTS, metered, metering
from lg_prod_nodes.runtime.model_shell import aclosed, closed, filtered_copy, shell_of
from lg_prod_nodes.runtime.scope import Scope


def _name(model: Any) -> str:
    name = getattr(model, "model_name", None) or getattr(model, "model", None)
    return str(name or type(model).__name__)


async def _as_message(call: Call, reply: Any) -> Any:
    return AIMessage(reply) if isinstance(reply, str) else reply


async def _as_it_is(call: Call, reply: Any) -> Any:
    return reply


async def _as_result(call: Call, reply: Any) -> Any:
    if isinstance(reply, LLMResult):
        return reply
    message = await _as_message(call, reply)
    return LLMResult(generations=[[ChatGeneration(message=message)] for _ in call.input])


def _call(
    scope: Scope,
    model: Any,
    asked: Any,
    request: CallRequest,
    *,
    blocking: bool,
    answer: Any = _as_it_is,
) -> Call:
    return scope.inner(
        "model",
        _name(model),
        input=asked,
        request=request,
        blocking=blocking,
        answer_with=answer,
    )


def _request(model: Any, options: Mapping[str, Any]) -> CallRequest:
    request = CallRequest(most_output(model, options), schemas_in(options))
    if given := options.get("run_id"):
        request.id = str(given)
    return request


def _identified(request: CallRequest, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The call's arguments, with the request's run id in the config; an id already there goes to the request."""
    config = options.pop("config", None) or (args[0] if args else None) or {}
    if given := config.get("run_id"):
        request.id = str(given)
    return ({**config, "run_id": UUID(request.id)}, *args[1:])


def _ask(
    answer: Any,
    blocking: bool,
    scope: Scope,
    native: Any,
    model: Any,
    asked: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    request = _request(model, kwargs)
    kwargs["run_id"] = UUID(request.id)
    return _asked(answer, blocking, scope, native, model, asked, request, args, kwargs)


@contextmanager
def _at_the_model(call: Call, model: Any) -> Generator[None]:
    """Meter what a chat or text model does inside the block."""
    token = OF_TEXTS.set(isinstance(model, BaseLLM))
    try:
        with metering(call):
            yield
    finally:
        OF_TEXTS.reset(token)


def _asked(
    answer: Any,
    blocking: bool,
    scope: Scope,
    native: Any,
    model: Any,
    asked: Any,
    request: CallRequest,
    args: Any,
    kwargs: Any,
) -> Any:
    async def handler(call: Call) -> Any:
        with _at_the_model(call, model):
            given = native(shell_of(model, call), call.input, *args, **kwargs)
            return given if call.blocking else await given

    call = _call(scope, model, asked, request, blocking=blocking, answer=answer)
    return send(scope.policies.model, call, handler)


def _invoke(
    blocking: bool, scope: Scope, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any
) -> Any:
    messages = model._convert_input(input).to_messages()
    request = _request(model, kwargs)
    args = _identified(request, args, kwargs)
    return _asked(_as_message, blocking, scope, native, model, messages, request, args, kwargs)


def _stream(
    start: Any, scope: Scope, native: Any, model: Any, input: Any, *args: Any, **kwargs: Any
) -> Any:
    prompt, speaks = model._convert_input(input), isinstance(model, BaseChatModel)
    asked = prompt.to_messages() if speaks else [prompt.to_string()]
    answer = _as_message if speaks else _as_it_is
    blocking, request = start is drive_stream, _request(model, kwargs)
    args = _identified(request, args, kwargs)

    async def handler(call: Call) -> Any:
        given = call.input if speaks else call.input[0]
        with _at_the_model(call, model):
            chunks = native(shell_of(model, call), given, *args, **kwargs)
            return await _read(chunks, call, whole=scope.buffers(call))

    async def flow() -> None:
        message = await act(scope.policies.model, call, handler)
        if message is not None:  # held back, or answered instead of the model
            await Chunk(_as_chunk(message))

    call = _call(scope, model, asked, request, blocking=blocking, answer=answer)
    return start(flow)


async def _read(chunks: Any, call: Call, *, whole: bool) -> Any:
    """Pass on a model's chunks, or join them."""
    if call.blocking:
        with closed(chunks):
            if not whole:
                return await Flow(chunks)
            return _joined(list(chunks))
    async with aclosed(chunks):
        if not whole:
            return await Flow(chunks)
        return _joined([chunk async for chunk in chunks])


def _joined(chunks: list[Any]) -> Any:
    if not chunks:
        return None
    first, *others = chunks
    for chunk in others:
        first = first + chunk
    return first


def _as_chunk(message: Any) -> Any:
    if isinstance(message, AIMessageChunk) or not isinstance(message, AIMessage):
        return message
    return AIMessageChunk(content=message.content, id=message.id, chunk_position="last")


def _decide(
    blocking: bool, scope: Scope, native: Any, model: Any, asked: Any, *args: Any, **kwargs: Any
) -> Any:
    """Guard a decision model. It calls no model handler; its response states the usage."""
    request = CallRequest(0)
    args = _identified(request, args, kwargs)

    async def handler(call: Call) -> Any:
        guarded = filtered_copy(model, call, _CLASSIFY)
        with metered(call) as answered:
            given = native(guarded, call.input, *args, **kwargs)
            response = given if call.blocking else await given
            answered(getattr(response, "usage", None))
            return response

    call = _call(scope, model, asked, request, blocking=blocking)
    return send(scope.policies.model, call, handler)


def _embed(
    blocking: bool, scope: Scope, native: Any, model: Any, asked: Any, *args: Any, **kwargs: Any
) -> Any:
    """Guard an embedding model. It reports no tokens and calls no handlers."""
    is_query = isinstance(asked, str)

    async def handler(call: Call) -> Any:
        texts = call.input[0] if is_query else call.input
        with metered(call) as answered:
            given = native(filtered_copy(model, call, ()), texts, *args, **kwargs)
            vectors = given if call.blocking else await given
            answered(None)
            return _Vectors(vectors)

    async def unwrapped(call: Call) -> Any:
        given = await act(scope.policies.model, call, handler)
        return given.of if isinstance(given, _Vectors) else given

    texts = [asked] if is_query else list(asked)
    return send((), _call(scope, model, texts, CallRequest(0), blocking=blocking), unwrapped)


class _Vectors:
    """Vectors, which no policy needs to read."""

    __slots__ = ("of",)

    def __init__(self, of: Any) -> None:
        self.of = of


_CLASSIFY = ("_classify", "_aclassify")

Guarded = Callable[..., Any]

OF_TEXT_MODELS: Mapping[str, Guarded] = {
    "generate": partial(_ask, _as_result, True),
    "agenerate": partial(_ask, _as_result, False),
    "stream": partial(_stream, drive_stream),
    "astream": partial(_stream, drive_astream),
}
OF_CHAT_MODELS: Mapping[str, Guarded] = {
    **OF_TEXT_MODELS,
    "invoke": partial(_invoke, True),
    "ainvoke": partial(_invoke, False),
    # A reader pulls the event stream, so it is filtered and cannot be wrapped.
    "_chat_model_stream_v3": partial(_invoke, True),
    "_achat_model_stream_v3": partial(_invoke, False),
}
OF_DECISION_MODELS: Mapping[str, Guarded] = {
    "invoke": partial(_decide, True),
    "ainvoke": partial(_decide, False),
}
OF_EMBEDDINGS: Mapping[str, Guarded] = {
    "embed_documents": partial(_embed, True),
    "embed_query": partial(_embed, True),
    "aembed_documents": partial(_embed, False),
    "aembed_query": partial(_embed, False),
}
