"""Short tracebacks: remove our own frames from errors that pass through policies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import NoReturn, cast

from langgraph.errors import GraphBubbleUp

FULL_TRACEBACKS = "LG_PROD_NODES_FULL_TRACEBACKS"
"""The environment variable that keeps our frames, read for each error."""

_PACKAGE = __name__.partition(".")[0]


def shorten(error: Exception) -> None:
    """Remove this package's frames from an error, its causes and contexts, and the members of a group.

    Call it while the error is handled, then re-raise with a bare `raise`, which adds no frame. The frame that raised
    the error stays even if it is ours, so that bugs of this package can be found, unless the error is one of ours.
    Control flow is left untouched.
    """
    if not isinstance(error, GraphBubbleUp) and not _keeps_frames():
        for linked in _linked(error):
            if isinstance(linked, Exception) and not isinstance(linked, GraphBubbleUp):
                _shorten(linked)


def raise_again(error: BaseException) -> NoReturn:
    """Raise an error while another one is handled, without making that its context."""
    context = error.__context__
    try:
        raise error
    finally:
        object.__setattr__(error, "__context__", context)  # works for frozen dataclasses too


def _keeps_frames() -> bool:
    return os.environ.get(FULL_TRACEBACKS, "").strip().lower() not in ("", "0", "false", "no")


def _linked(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes and contexts, and the members of groups, each once, as they may form cycles."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        linked = waiting.pop()
        if linked is None or id(linked) in seen:
            continue
        seen.add(id(linked))
        yield linked
        waiting += [linked.__cause__, linked.__context__]
        if isinstance(linked, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", linked).exceptions


def _shorten(error: Exception) -> None:
    entries = list(_entries(error.__traceback__))
    raised_here = entries[-1:] if not _is_in_package(type(error).__module__) else []
    kept = [entry for entry in entries if entry in raised_here or not _is_ours(entry)]
    if len(kept) == len(entries):
        return
    rebuilt: TracebackType | None = None
    for entry in reversed(kept):
        rebuilt = TracebackType(rebuilt, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    BaseException.with_traceback(error, rebuilt)


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_ours(entry: TracebackType) -> bool:
    return _is_in_package(entry.tb_frame.f_globals.get("__name__"))


def _is_in_package(module: object) -> bool:
    return isinstance(module, str) and (module == _PACKAGE or module.startswith(f"{_PACKAGE}."))
