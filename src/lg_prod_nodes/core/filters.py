"""What a policy makes of texts that leave a call by other ways than its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol


class TextStream(Protocol):
    """A text that leaves piece by piece, as far as it is settled."""

    @property
    def held(self) -> int:
        """How many characters are held back."""
        ...

    def feed(self, piece: str) -> str:
        """Take the next piece; give back what may leave now, which can be nothing."""
        ...

    def flush(self) -> str:
        """Give back the rest: nothing follows."""
        ...


class TextFilter(Protocol):
    """What a policy makes of texts that leave a call by other ways than its result: streams, store, edges."""

    def __call__(self, text: str) -> str:
        """The text as it may leave."""
        ...

    def stream(self) -> TextStream:
        """A text of its own that leaves piece by piece."""
        ...

    def settled(self, text: str) -> int:
        """How many characters of a text are settled, whatever follows."""
        ...

    def opens(self, text: str) -> bool:
        """Whether the end of a text looks like the beginning of something that must not leave."""
        ...


def through(filters: Sequence[TextFilter], text: str) -> str:
    """A text as it may leave through filters, the last one first."""
    for change in reversed(filters):
        text = change(text)
    return text


@dataclass(frozen=True, slots=True)
class Texts:
    """What the policies around a call do with its content.

    Attributes:
        filters: What the outer policies make of texts that leave by other ways than the result.
        originals: What a tool gets in place of tokens in its arguments.
        clean: The messages of the node's own input that its policies have seen already, by identity.
    """

    filters: tuple[TextFilter, ...] = ()
    originals: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    clean: Mapping[int, Any] | None = field(default=None, repr=False)

    def passing(self, filter: TextFilter) -> Texts:
        """The same with one more filter, inside the others."""
        return replace(self, filters=(*self.filters, filter))

    def revealing(self, originals: Mapping[str, str]) -> Texts:
        """The same with originals of further tokens."""
        return replace(self, originals=(*self.originals, *originals.items()))

    def filtered(self, text: str) -> str:
        """A text as it may leave the call."""
        return through(self.filters, text)

    def revealed(self, text: str) -> str:
        """A text with originals in place of their tokens."""
        for token, original in self.originals:
            text = text.replace(token, original)
        return text


NO_TEXTS = Texts()


@dataclass(slots=True)
class RunContent:
    """What the policies of a run do with content that crosses its boundary.

    Attributes:
        filters: What they make of texts that leave the run.
        guards: The policies through which everything passes that enters a graph's state, and that graph's path.
        saver: Identifies the checkpointer of the run's thread, `None` without one.
    """

    filters: tuple[TextFilter, ...] = ()
    guards: list[tuple[object, str]] = field(default_factory=list)
    saver: int | None = None
