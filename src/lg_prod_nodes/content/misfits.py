"""Says so when a value fails its validation because a policy replaced it."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from pydantic_core import PydanticCustomError, ValidationError

from lg_prod_nodes.content.walk import texts
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


@contextmanager
def explained_misfits(tool: str | None = None, *, is_state: bool = False) -> Generator[None]:
    """Add to validation errors that a value was replaced, and what to do.

    Args:
        tool: The tool whose arguments are validated.
        is_state: Whether a state is.
    """
    try:
        yield
    except ValidationError as error:
        if not any(misfits(error)) or _SAYS_SO in str(error):
            raise
        raise_again(_explained(error, tool, is_state=is_state))
    except Exception as error:
        told = [*getattr(error, "__notes__", ()), str(error)]
        misfit = next(misfits(error), None)
        if misfit is not None and not any(_SAYS_SO in text for text in told):
            error.add_note(misfit.advice(tool))
        raise


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
