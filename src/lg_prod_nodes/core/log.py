"""Logging through the standard library's logger `lg_prod_nodes`, or structlog if the application configured it.

By default nothing is written; after `logging.basicConfig` the lines appear like those of any other library. The choice
is made for each line, since applications configure logging after their imports.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

LOGGER = logging.getLogger("lg_prod_nodes")
"""The level set here applies to structlog too."""

LOGGER.addHandler(logging.NullHandler())

_BARE = re.compile(r"[\w.:/@+-]+")
_CALLER = 3
"""The number of frames between the standard library and the caller."""


def info(event: str, **values: Any) -> None:
    """Log a routine event."""
    _log(logging.INFO, event, values)


def warning(event: str, **values: Any) -> None:
    """Log something that needs attention."""
    _log(logging.WARNING, event, values)


def error(event: str, **values: Any) -> None:
    """Log a failure."""
    _log(logging.ERROR, event, values)


def _log(level: int, event: str, values: dict[str, Any]) -> None:
    ids: dict[str, Any] = {}
    if "structlog" in sys.modules:  # importing it takes longer than all else here
        import structlog

        if structlog.is_configured():
            if level >= LOGGER.level:
                method = logging.getLevelName(level).lower()
                getattr(structlog.get_logger(LOGGER.name), method)(event, **values)
            return
        ids = dict(sorted(structlog.contextvars.get_contextvars().items()))
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, _line(event, {**values, **ids, **values}), stacklevel=_CALLER)


def _line(event: str, values: dict[str, Any]) -> str:
    """Format an event as one line. Values are quoted so that none can start a line or pass for a key."""
    return " ".join([event, *(f"{key}={_shown(value)}" for key, value in values.items())])


def _shown(value: Any) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else repr(text)
