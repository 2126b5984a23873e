"""Says so when a value fails its validation because a policy replaced it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic_core import PydanticCustomError, ValidationError

from lg_prod_nodes.content.walk import texts
from lg_prod_nodes.core.errors import ProductionError
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.tracebacks import raise_again

_STAND_IN = re.compile(r"\[([A-Z][A-Z0-9_]*?)(?::[0-9a-f]{16}|_[a-z2-7]{8,52})?\]|\*{4,}")
_SAYS_SO = "Redact replaced"
_DEEPEST = 5
"""How many causes of an error are looked at."""


class Misfit(NamedTuple):
    """A replaced value that failed its validation.

    Attributes:
        keys: The names that lead to it.
        what: What was replaced.
    """

    keys: tuple[str, ...]
    what: str

    def advice(self, tool: str | None = None, *, is_state: bool = False) -> str:
        """Return what happened and what to do."""
        place = repr(".".join(self.keys)) if self.keys else ""
        if is_state and self.keys:
            place = f"field={self.keys[0]!r}"
        elif tool is not None:
            place = ", ".join(filter(None, (place, f"tool={tool!r}")))
        fitting = (
            f"Redact(strategies={{At({place}): 'surrogate'}}, key=...), or 'keep', or a function"
        )
        return f"{_SAYS_SO} {self.what} here; give this location a strategy that fits: {fitting}"


def misfits(error: BaseException | None) -> Iterator[Misfit]:
    """Yield the replaced values that a validation error, or one that caused it, complains of."""
    for _ in range(_DEEPEST):
        if error is None:
            return
        if isinstance(error, ValidationError):
            yield from filter(None, map(_misfit, error.errors(include_url=False)))
        error = error.__cause__ or error.__context__


def _misfit(line: Any) -> Misfit | None:
    found = next((f for text in texts(line["input"]) if (f := _STAND_IN.search(text))), None)
    if found is None:
        return None
    keys = tuple(key for key in line["loc"] if isinstance(key, str))
    return Misfit(keys, f"the {found[1]}" if found[1] else "a value")


class explained_misfits:  # noqa: N801 - a context manager that reads as a verb
    """Add to validation errors that a value was replaced, and what to do.

    Args:
        kind: The kind of the call: a tool's arguments, or a state, are validated.
        name: The name of what is called.
    """

    __slots__ = ("_is_state", "_tool")

    def __init__(self, kind: Kind, name: str) -> None:
        self._tool = name if kind == "tool" else None
        self._is_state = kind in ("run", "update")

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, ProductionError):
            return
        if not (misfit := next(misfits(error), None)) or _is_explained(error):
            return
        if isinstance(error, ValidationError):
            raise_again(_explained(error, self._tool, is_state=self._is_state))
        error.add_note(misfit.advice(self._tool))


def _is_explained(error: Exception) -> bool:
    return any(_SAYS_SO in text for text in (str(error), *getattr(error, "__notes__", ())))


def _explained(error: ValidationError, tool: str | None, *, is_state: bool) -> ValidationError:
    lines: list[Any] = []
    custom: Any = PydanticCustomError  # takes literals alone, by its annotations
    for line in error.errors(include_url=False):
        misfit, said = _misfit(line), line["msg"]
        if misfit is not None:
            said = f"{said}. {misfit.advice(tool, is_state=is_state)}"
        kind = custom(line["type"], said)
        lines.append({"type": kind, "loc": line["loc"], "input": line["input"]})
    made = ValidationError.from_exception_data(error.title, lines)
    made.__cause__, made.__suppress_context__ = error.__cause__, True
    for note in getattr(error, "__notes__", ()):
        made.add_note(note)
    return made.with_traceback(error.__traceback__)
