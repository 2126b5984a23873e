"""Filters that policies apply to content which leaves a call other than in its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    @property
    def is_located(self) -> bool:
        """Whether it matters where a text is."""
        ...

    def at(self, keys: tuple[Any, ...]) -> TextFilter:
        """Return the filter for texts under these keys, see `content.location`."""
        ...

    def shared(self, name: str, /) -> str | None:
        """Return what a name stands for, if the filter gives it to several values; it identifies none of them."""
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
class Filters:
    """Filters in sequence, the last one applied first."""

    filters: Sequence[TextFilter]

    def __call__(self, text: str) -> str:
        """Return the filtered text."""
        return through(self.filters, text)

    @property
    def is_located(self) -> bool:
        """Whether it matters where a text is."""
        return any(filter.is_located for filter in self.filters)

    def at(self, keys: tuple[Any, ...]) -> Filters:
        """Return the filters for texts under these keys."""
        return Filters([filter.at(keys) for filter in self.filters]) if self.is_located else self

    def shared(self, name: str, /) -> str | None:
        """Return what a name stands for, if it stands for several values."""
        found = (filter.shared(name) for filter in self.filters)
        return next(filter(None, found), None)


@dataclass(frozen=True, slots=True)
class Texts:
    """What the policies around a call do with its content.

    Attributes:
        filters: The outer policies' filters for texts that leave other than in the result.
        reveal: Puts originals in the place of tokens, in what the called tool or node receives.
        clean: The messages of the node's own input that its policies have already processed, by identity.
    """

    filters: tuple[TextFilter, ...] = ()
    reveal: Callable[[str], str] | None = field(default=None, repr=False)
    clean: Mapping[int, Any] | None = field(default=None, repr=False)

    def passing(self, filter: TextFilter) -> Texts:
        """Return a copy with one more filter, inside the others."""
        return Texts((*self.filters, filter), self.reveal, self.clean)

    def revealing(self, reveal: Callable[[str], str]) -> Texts:
        """Return a copy that puts originals in the place of more tokens."""
        outer = self.reveal
        inner = reveal if outer is None else lambda text: reveal(outer(text))
        return Texts(self.filters, inner, self.clean)

    @property
    def filtered(self) -> Filters:
        """The filters for texts that leave the call."""
        return Filters(self.filters)


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
