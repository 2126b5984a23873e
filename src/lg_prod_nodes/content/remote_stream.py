"""Filters the chunks that a remote graph sends into its caller's stream, as data without LangChain's classes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lg_prod_nodes.content.payload_stream import PayloadStream
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.core.filters import TextFilter, through

_IN_PIECES = ("content", "tool_call_chunks", "additional_kwargs")
"""The fields of a message that arrive piece by piece."""


class RemoteStream:
    """Stands in for the caller's stream.

    Pieces of messages and of the custom stream are held back like those of a local graph. Everything else is whole.

    Args:
        stream: The caller's stream.
        filters: The filters that its texts pass.
        held: Called when a chunk has to wait.
    """

    def __init__(
        self, stream: Any, filters: Sequence[TextFilter], held: Callable[[], None]
    ) -> None:
        self.modes = stream.modes
        self._stream, self._filters, self._held = stream, filters, held
        self._open: dict[Any, tuple[PayloadStream, deque[Any]]] = {}

    def __call__(self, chunk: tuple[Any, str, Any]) -> None:
        """Send a chunk."""
        namespace, mode, data = chunk
        if mode == "custom":
            self._feed((namespace, mode), lambda left: (namespace, mode, left), data)
        elif mode == "messages" and _is_message(data):
            message, *rest = data
            pieces = {name: message[name] for name in _IN_PIECES if name in message}
            whole = {name: value for name, value in message.items() if name not in pieces}
            whole, rest = self._rewritten(whole), self._rewritten(rest)
            self._feed(
                (namespace, mode, message.get("id")),
                lambda left: (namespace, mode, [{**whole, **left}, *rest]),
                pieces,
            )
        else:
            self._stream((namespace, mode, self._rewritten(data)))

    def flush(self) -> None:
        """Send what is still held back, at the end."""
        for stream, _ in self._open.values():
            stream.flush()

    def _feed(self, key: Any, made: Callable[[Any], Any], piece: Any) -> None:
        if key not in self._open:
            waiting: deque[Any] = deque()
            write = partial(self._leave, waiting)
            self._open[key] = PayloadStream(write, self._filters, self._held), waiting
        stream, waiting = self._open[key]
        waiting.append(made)
        stream(piece)

    def _leave(self, waiting: deque[Any], left: Any) -> None:
        self._stream(waiting.popleft()(left))

    def _rewritten(self, value: Any) -> Any:
        return rewrite(value, partial(through, self._filters))


def _is_message(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and bool(data) and isinstance(data[0], dict)
