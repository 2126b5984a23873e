"""Filters a node's custom stream, where an entity may be split across several payloads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lg_prod_nodes.content.finality import HELD_BACK
from lg_prod_nodes.content.location import OUTSIDE, Keys
from lg_prod_nodes.content.walk import rewrite, texts_by_path, with_text_at
from lg_prod_nodes.core.filters import Filters, TextFilter

_PLACES = 64
"""Maximum number of texts that may continue at once."""


class PayloadStream:
    """Filters what a node writes to the custom stream.

    A payload is written whole and at once, unless a text in it ends with the possible beginning of an entity. Then it
    waits for the next payload that continues that text, or for the end of the node. An entity split across payloads is
    replaced from the first piece that reveals it.

    Args:
        write: Writes a filtered payload.
        filters: The filters that its texts pass.
        held: Called when a payload has to wait.
    """

    def __init__(
        self,
        write: Callable[[Any], None],
        filters: Sequence[TextFilter],
        held: Callable[[], None] = lambda: None,
    ) -> None:
        self._held = held
        self._write = write
        self._filters = filters
        self._change = Filters(filters).at((OUTSIDE,))
        self._waiting: list[Any] = []
        self._before: dict[Keys, str] = {}
        self._lock = threading.Lock()

    def __call__(self, payload: Any) -> None:
        """Write a payload."""
        with self._lock:
            self._waiting.append(payload)
            texts = self._texts().values()
            if sum(map(len, texts)) > HELD_BACK or not any(map(self._opens, texts)):
                self._release()
            else:
                self._held()

    def flush(self) -> None:
        """Mark the end of the stream; write the waiting payloads."""
        with self._lock:
            self._release()

    def _opens(self, text: str) -> bool:
        return any(filter.opens(text) for filter in self._filters)

    def _unsettled(self, text: str) -> str:
        return text[min((filter.settled(text) for filter in self._filters), default=len(text)) :]

    def _texts(self) -> dict[Keys, str]:
        """Return the waiting texts by path, each joined to the earlier text at the same path."""
        joined: dict[Keys, str] = {}
        for payload in self._waiting:
            for path, text in texts_by_path(payload).items():
                joined[path] = joined.get(path, self._before.get(path, "")) + text
        return joined

    def _release(self) -> None:
        payloads = [rewrite(payload, self._change) for payload in self._waiting]
        joined = self._texts()
        leaves = [texts_by_path(payload) for payload in payloads] if self._goes_on(joined) else []
        for path, whole in joined.items() if leaves else ():
            before = self._before.get(path, "")
            said = before + "".join(texts.get(path, "") for texts in leaves)
            if (changed := self._change(whole)) not in (whole, said):
                payloads = _said_once(payloads, path, changed[_shared(before, changed) :])
        self._waiting = []
        ends = {path: end for path, text in joined.items() if (end := self._unsettled(text))}
        self._before = dict([*self._before.items(), *ends.items()][-_PLACES:])
        for path in joined.keys() - ends.keys():
            self._before.pop(path, None)
        for payload in payloads:
            self._write(payload)

    def _goes_on(self, joined: Mapping[Keys, str]) -> bool:
        """Return whether any of these texts continues one from another payload."""
        return len(self._waiting) > 1 or not self._before.keys().isdisjoint(joined)


def _said_once(payloads: Sequence[Any], path: Keys, text: str) -> list[Any]:
    """Put a text at a path of the first payload that has it, and an empty text there in the others."""
    said: list[Any] = []
    for payload in payloads:
        has = path in texts_by_path(payload)
        said.append(with_text_at(payload, path, text) if has else payload)
        text = "" if has else text
    return said


def _shared(first: str, second: str) -> int:
    pairs = zip(first, second, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
