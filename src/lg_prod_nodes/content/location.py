"""Where a text is: under which state field, in which tool's arguments or result, under which keys."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

from lg_prod_nodes.core.errors import ConfigurationError

Keys = tuple[Any, ...]
"""The names that lead to a text. Markers in between are no names."""


class Tool(NamedTuple):
    """Marks the arguments and the result of a tool."""

    name: str


class _Marker(NamedTuple):
    what: str


MESSAGE = _Marker("message")
"""Marks what is inside a message, where names belong to its format."""

ANSWER = _Marker("answer")
"""Marks what is inside a model's message."""

OUTSIDE = _Marker("outside")
"""Marks what belongs to no state: custom streams, the store, metadata."""

NOWHERE = _Marker("nowhere")
"""Marks what no location covers: exceptions and logs."""


@dataclass(frozen=True)
class At:
    """A location of content, for `Redact(strategies={...})`. It covers what is nested inside it, too.

    Args:
        path: A key, or keys joined by dots (`"customer.email"`), at any depth of a mapping, model or dataclass, and of
            the JSON text of a model's answer or of a tool's arguments or result.
        field: The state field that it is in.
        tool: The tool, or schema of a structured answer, whose arguments or result it is in.

    Raises:
        ConfigurationError: Nothing is given.

    Example:
        ```python
        Redact(strategies={At(field="email"): "keep", At("to", tool="send_email"): "surrogate"}, key=KEY)
        ```
    """

    path: str = ""
    _: KW_ONLY
    field: str | None = None
    tool: str | None = None

    def __post_init__(self) -> None:
        given = (self.path or None, self.field, self.tool)
        if not any(given) or not all(
            isinstance(name, str) and name for name in given if name is not None
        ):
            raise ConfigurationError(
                "At() names no location; give a key such as At('email'), or At(field='email'), At(tool='send_email')"
            )

    def covers(self, keys: Keys) -> bool:
        """Return whether a text under these keys is at this location."""
        if NOWHERE in keys:
            return False
        if self.field is not None and keys[:1] != (self.field,):
            return False
        if self.tool is not None and Tool(self.tool) not in keys:
            return False
        wanted, names = self.path.split("."), [key for key in keys if isinstance(key, str)]
        return not self.path or any(
            names[at : at + len(wanted)] == wanted for at in range(len(names) - len(wanted) + 1)
        )


def may_be_json(keys: Keys) -> bool:
    """Return whether keys in the text itself count: where an application or a model writes it, and not a user."""
    return any(key == ANSWER or isinstance(key, Tool) for key in keys)


def names_here(keys: Keys) -> Keys:
    """Return the last three names, as far as no marker comes between: they may tell what a text is."""
    names: Keys = ()
    for key in reversed(keys[-3:]):
        if not isinstance(key, str):
            break
        names = (key, *names)
    return names


_TOKEN = re.compile(r'\\.?|["{}\[\],:]|[^\\"{}\[\],:]+', re.DOTALL)


class JsonKeys:
    """Reads a text that may contain JSON, whole or in pieces, and knows the keys of the current position."""

    __slots__ = ("_escaped", "_levels", "_names", "_string")

    def __init__(self) -> None:
        self._levels: list[str | None] = []  # the current key of each open object; None: a list
        self._string: str | None = None  # what was read of an open string
        self._names = False  # whether the next string is a key
        self._escaped = False

    @property
    def keys(self) -> Keys:
        """The keys of the current position."""
        return tuple(key for key in self._levels if key)

    def copy(self) -> JsonKeys:
        """Return a reader at the same position."""
        other = JsonKeys()
        other._levels = [*self._levels]
        other._string, other._names, other._escaped = self._string, self._names, self._escaped
        return other

    def feed(self, text: str) -> None:
        """Read on."""
        if self._escaped and text:
            self._escaped, text = False, text[1:]
        for token in _TOKEN.findall(text):
            if self._string is not None:
                self._in_string(token)
            elif self._levels:
                self._between(token)
            elif token == "{":
                self._open("")

    def _in_string(self, token: str) -> None:
        if token != '"':
            self._escaped = token == "\\"
            self._string = (self._string or "") + token
            return
        if self._names:
            self._levels[-1] = self._string
        self._string, self._names = None, False

    def _between(self, token: str) -> None:
        match token:
            case '"':
                self._string = ""
            case "{":
                self._open("")
            case "[":
                self._open(None)
            case "}" | "]":
                self._levels.pop()
                self._names = False
            case "," if self._levels[-1] is not None:
                self._levels[-1], self._names = "", True
            case _:
                pass

    def _open(self, key: str | None) -> None:
        self._levels.append(key)
        self._names = key is not None
