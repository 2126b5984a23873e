"""Our log lines: to the standard library's logger `lg_prod_nodes`, or to structlog if the application configured it.

A library does not print. Without any configuration nothing is written; with `logging.basicConfig` the lines show up
like those of every other library. Which of the two takes a line is decided at each line, since applications configure
logging after their imports.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import structlog

LOGGER = logging.getLogger("lg_prod_nodes")
"""The level that is set here holds for structlog too."""

LOGGER.addHandler(logging.NullHandler())

_BARE = re.compile(r"[\w.:/@+-]+")
_CALLER = 3
"""Frames between the standard library and whoever logs."""


def info(event: str, **values: Any) -> None:
    """Log what usually happens."""
    _log(logging.INFO, event, values)


def warning(event: str, **values: Any) -> None:
    """Log what somebody should look at."""
    _log(logging.WARNING, event, values)


def error(event: str, **values: Any) -> None:
    """Log what failed."""
    _log(logging.ERROR, event, values)


def _log(level: int, event: str, values: dict[str, Any]) -> None:
    if structlog.is_configured():
        if level >= LOGGER.level:
            method = logging.getLevelName(level).lower()
            getattr(structlog.get_logger(LOGGER.name), method)(event, **values)
    elif LOGGER.isEnabledFor(level):
        ids = dict(sorted(structlog.contextvars.get_contextvars().items()))
        LOGGER.log(level, _line(event, {**values, **ids, **values}), stacklevel=_CALLER)


def _line(event: str, values: dict[str, Any]) -> str:
    """An event and its values as one line: no value can begin another one or pass for a key."""
    return " ".join([event, *(f"{key}={_shown(value)}" for key, value in values.items())])


def _shown(value: Any) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else repr(text)
