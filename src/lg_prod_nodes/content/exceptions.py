"""Cleans exceptions in place, since they are already propagating.

An exception exposes content in many ways: arguments, attributes, notes, causes, and a message that its class computes
from private data. If the message still exposes content after its parts are cleaned, it is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, cast

from pydantic_core import PydanticCustomError, ValidationError

from lg_prod_nodes.core.errors import ProductionError

_BUILT_IN = {
    OSError: ("filename", "filename2", "strerror"),
    ImportError: ("msg", "name", "path"),
    SyntaxError: ("msg", "text", "filename"),
    AttributeError: ("name", "obj"),
    NameError: ("name",),
    UnicodeDecodeError: ("object", "reason"),
    UnicodeEncodeError: ("object", "reason"),
    UnicodeTranslateError: ("object", "reason"),
}
"""Attributes of Python's built-in exceptions that are neither in `vars` nor in slots."""

Walk = Callable[[Any], Any]
"""Rewrites a value."""


def rewritten(error: BaseException, walk: Walk, seen: dict[int, BaseException]) -> BaseException:
    """Rewrite every text in an exception and its causes.

    Args:
        error: The exception.
        walk: Rewrites its parts.
        seen: The exceptions already visited, since they may contain each other.

    Returns:
        The same exception, changed in place; a new one of its class if that class is immutable.
    """
    if id(error) in seen:
        return seen[id(error)]
    if isinstance(error, ProductionError):  # its message never contains content
        return error
    cleaned = _validation_error(error, walk) if isinstance(error, ValidationError) else error
    seen[id(error)] = seen[id(cleaned)] = cleaned
    if cleaned is error:
        _clean_parts(error, walk)
        _clean_text(error, walk)
    for name in ("__cause__", "__context__"):
        if (linked := getattr(error, name)) is not None:
            suppressed = error.__suppress_context__
            setattr(cleaned, name, rewritten(linked, walk, seen))
            cleaned.__suppress_context__ = suppressed
    if isinstance(error, BaseExceptionGroup):
        for member in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            rewritten(member, walk, seen)
    return cleaned


def _clean_parts(error: BaseException, walk: Walk) -> None:
    if isinstance(error, BaseExceptionGroup):
        error.args = (walk(error.args[0]), *error.args[1:])
    for name in dict.fromkeys(_names(error)):
        # Whatever cleaning runs into, the user's own error must be raised.
        with suppress(Exception):
            old = getattr(error, name)
            if (new := walk(old)) is not old:
                _assign(error, name, new)


def _names(error: BaseException) -> Iterator[str]:
    yield from vars(error)
    for cls in type(error).__mro__:
        slots: str | tuple[str, ...] = vars(cls).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
    if not isinstance(error, BaseExceptionGroup):
        yield "args"
    for cls, names in _BUILT_IN.items():
        if isinstance(error, cls):
            yield from names


def _assign(error: BaseException, name: str, value: Any) -> None:
    try:
        setattr(error, name, value)
    except Exception:  # a frozen dataclass
        object.__setattr__(error, name, value)


def _clean_text(error: BaseException, walk: Walk) -> None:
    """Replace the message of an error if the one its class computes still exposes content."""
    with suppress(Exception):
        said, shown = str(error), repr(error)
        if walk(said) != said or walk(shown) != shown:
            vars(error)["_said"], vars(error)["_shown"] = walk(said), walk(shown)
            error.__class__ = _restrained(cast(Any, type(error)))


@cache
def _restrained(cls: Any) -> Any:
    def said(self: Any) -> str:
        return cast(str, vars(self)["_said"])

    def shown(self: Any) -> str:
        return cast(str, vars(self)["_shown"])

    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__slots__": ()}
    return type(cls.__name__, (cls,), {"__str__": said, "__repr__": shown, **names})


def _validation_error(error: ValidationError, walk: Walk) -> ValidationError:
    """Rebuild a pydantic error, which quotes its input and is immutable."""
    before = error.errors(include_url=False)
    after = walk(before)
    said = str(error)
    if after is before and walk(said) == said:
        return error
    lines: list[Any] = [
        {
            "type": PydanticCustomError(line["type"], walk(line["msg"])),
            "loc": line["loc"],
            "input": walk(str(line["input"])),
        }
        for line in after
    ]
    made = ValidationError.from_exception_data(walk(error.title), lines)
    made.__notes__ = [walk(note) for note in getattr(error, "__notes__", [])]
    return made.with_traceback(error.__traceback__)
