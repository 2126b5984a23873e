"""The log of a service: one line an event, with the ids of its run, and without personal data and secrets."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.policies.redact import Redact
from lg_prod_nodes.service.log_values import LogValues, for_terminals

_CHATTY = ("httpcore", "httpx", "urllib3", "botocore", "openai", "anthropic", "psycopg.pool")
"""Loggers of libraries that tell each request; at the level `DEBUG` with its headers and body."""


def configure_logging(
    *,
    json: bool | None = None,
    level: str | int = "INFO",
    redact: Redact | None = None,
    stream: TextIO | None = None,
) -> None:
    """Send the lines of structlog and of the standard library one way, and none with personal data or secrets.

    Every line has the ids that `Tracing` binds, a level, a logger and a time. All that a line holds is searched: its
    event, its values and keys, arguments, exceptions and stacks. Loggers that have handlers of their own, such as those
    of uvicorn, gunicorn and LangGraph Server, lose them and join in. Call it where the application starts; a second
    call takes the place of the first.

    Args:
        json: Whether lines are JSON; else they are for people. By default they are for people in a terminal alone.
        level: The least level that is logged.
        redact: What is looked for, and what is put in its place; by default `Redact()`. The strategies `"tokenize"`
            and `"block"` leave the entity's name in a log.
        stream: Where lines go, by default the standard error.

    Raises:
        ConfigurationError: The level is not known.

    Example:
        ```python
        configure_logging(level="INFO", redact=Redact("EMAIL_ADDRESS", "SECRET"))
        ```
    """
    out: TextIO = stream or sys.stderr
    if json is None:
        json = not out.isatty()
    redact = redact or Redact()
    redact.detector.open()
    handler = _Handler(out)
    handler.setFormatter(_formatter(redact, _renderers(json=json, colors=out.isatty())))
    _join_in(handler, _level(level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines; of one that cannot be written it says so, and shows nothing."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        error = type(sys.exception()).__name__
        with suppress(Exception):
            self.stream.write(f'{{"event": "a line was lost", "error_type": "{error}"}}\n')


def _formatter(redact: Redact, renderers: Sequence[Processor]) -> ProcessorFormatter:
    return ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ExtraAdder(),
            _tidy,
        ],
        processors=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            ProcessorFormatter.remove_processors_meta,
            LogValues(redact.replacer().change),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
    )


def _renderers(*, json: bool, colors: bool) -> Sequence[Processor]:
    if json:
        return [structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback  # others show local variables
    console = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)
    return [for_terminals, console]


def _tidy(logger: WrappedLogger, name: str, event_dict: EventDict) -> EventDict:
    """A line of the standard library's, with the names that structlog's lines have."""
    event_dict.pop("color_message", None)  # uvicorn's event once more
    if (stack := event_dict.pop("stack_info", None)) is not None:
        event_dict["stack"] = stack
    return event_dict


def _level(level: str | int) -> int:
    known = logging.getLevelNamesMapping()
    number = known.get(level.upper()) if isinstance(level, str) else level
    if number is None:
        raise ConfigurationError(f"level is {level!r}; choose one of {', '.join(known)}")
    return number


def _join_in(handler: logging.Handler, level: int) -> None:
    """Make a handler the only one, of every logger that there is."""
    _quiet_uvicorn()
    for logger in _loggers():
        if any(not isinstance(own, logging.NullHandler) for own in logger.handlers):
            logger.handlers.clear()
            logger.propagate = True
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


def _loggers() -> Sequence[logging.Logger]:
    known = logging.getLogger().manager.loggerDict.values()
    return [logger for logger in known if isinstance(logger, logging.Logger)]


def _quiet_uvicorn() -> None:
    """Let a uvicorn that starts later set no handlers of its own."""
    try:
        from uvicorn.config import LOGGING_CONFIG
    except ImportError:
        return
    config: dict[str, Any] = LOGGING_CONFIG
    config["handlers"] = {}
    for logger in config["loggers"].values():
        logger["handlers"] = []
        logger["propagate"] = True
