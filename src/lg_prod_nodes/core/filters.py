"""Filters that policies apply to content which leaves a call other than in its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class TextStream(Protocol):
    """A text that is streamed piece by piece, each as soon as it is final."""

    @property
    def held(self) -> int:
        """The number of characters held back."""
        ...

    def feed(self, piece: str) -> str:
        """Add the next piece; return the text that is final now, possibly empty."""
        ...

    def flush(self) -> str:
        """Return the rest, at the end of the stream."""
        ...


class TextFilter(Protocol):
    """Filters texts that leave a call other than in its result: through streams, the store or edges."""

    def __call__(self, text: str) -> str:
        """Return the filtered text."""
        ...

    def stream(self) -> TextStream:
        """Start filtering a text that is streamed piece by piece."""
        ...

    def settled(self, text: str) -> int:
        """Return how many characters of a text are final, whatever follows."""
        ...

    def opens(self, text: str) -> bool:
        """Return whether the end of a text may be the beginning of something that must not leave."""
        ...


def through(filters: Sequence[TextFilter], text: str) -> str:
    """Return a text after all filters, the last one applied first."""
    for change in reversed(filters):
        text = change(text)
    return text


@dataclass(frozen=True, slots=True)
class Texts:
    """What the policies around a call do with its content.

    Attributes:
        filters: The outer policies' filters for texts that leave other than in the result.
        originals: Pairs of tokens in a tool's arguments and the originals that it receives instead.
        clean: The messages of the node's own input that its policies have already processed, by identity.
    """

    filters: tuple[TextFilter, ...] = ()
    originals: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    clean: Mapping[int, Any] | None = field(default=None, repr=False)

    def passing(self, filter: TextFilter) -> Texts:
        """Return a copy with one more filter, inside the others."""
        return Texts((*self.filters, filter), self.originals, self.clean)

    def revealing(self, originals: Mapping[str, str]) -> Texts:
        """Return a copy with the originals of more tokens."""
        return Texts(self.filters, (*self.originals, *originals.items()), self.clean)

    def filtered(self, text: str) -> str:
        """Return a text, filtered to leave the call."""
        return through(self.filters, text)

    def revealed(self, text: str) -> str:
        """Return a text with tokens replaced by their originals."""
        for token, original in self.originals:
            text = text.replace(token, original)
        return text


NO_TEXTS = Texts()


@dataclass(slots=True)
class RunContent:
    """What the policies of a run do with content that crosses its boundary.

    Attributes:
        filters: The filters for texts that leave the run.
        guards: The policies that check everything written to a graph's state, each with the path of that graph.
        saver: The identity of the thread's checkpointer, `None` if there is none.
    """

    filters: tuple[TextFilter, ...] = ()
    guards: list[tuple[object, str]] = field(default_factory=list)
    saver: int | None = None
