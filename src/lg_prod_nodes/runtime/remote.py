"""Remote graphs (`RemoteGraph`) as a guarded node calls them: what they stream into the parent's stream is filtered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, closing
from functools import partial
from typing import Any

from lg_prod_nodes.content.remote_stream import RemoteStream
from lg_prod_nodes.runtime.langgraph import note_progress, with_stream
from lg_prod_nodes.runtime.scope import Scope


def _stream(
    scope: Scope, native: Any, graph: Any, input: Any, config: Any = None, **kw: Any
) -> Iterator[Any]:
    config, streams = _filtered(scope, config)
    try:
        with closing(native(graph, input, config, **kw)) as chunks:
            yield from chunks
    finally:
        for stream in streams:
            stream.flush()


async def _astream(
    scope: Scope, native: Any, graph: Any, input: Any, config: Any = None, **kw: Any
) -> AsyncIterator[Any]:
    config, streams = _filtered(scope, config)
    try:
        async with aclosing(native(graph, input, config, **kw)) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        for stream in streams:
            stream.flush()


def _filtered(scope: Scope, config: Any) -> tuple[Any, list[RemoteStream]]:
    """The config with a filter before the parent's stream, and that filter, if there are both."""
    texts, streams = scope.call.texts, list[RemoteStream]()
    if config is None or not texts.filters:
        return config, streams

    def filtered(stream: Any) -> RemoteStream:
        streams.append(
            RemoteStream(stream, texts.filters, partial(note_progress, scope.call.runtime))
        )
        return streams[0]

    return with_stream(config, filtered), streams


OF_REMOTE_GRAPHS: Mapping[str, Callable[..., Any]] = {"stream": _stream, "astream": _astream}
