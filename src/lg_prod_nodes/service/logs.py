"""Structured service logs: one line per event, with run ids, without personal data or secrets."""

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
"""Loggers of libraries that log every request; at `DEBUG` with headers and body."""


def configure_logging(
    *,
    json: bool | None = None,
    level: str | int = "INFO",
    redact: Redact | None = None,
    stream: TextIO | None = None,
) -> None:
    """Send structlog and standard-library logs through one redacting pipeline.

    Every line carries the ids that `Tracing` binds, a level, a logger name and a timestamp. The whole entry is
    searched: event, keys, values, arguments, exceptions and stack traces. Loggers with handlers of their own, such as
    those of uvicorn, gunicorn and LangGraph Server, lose them and propagate to the root logger. Call it at application
    startup; a second call replaces the first.

    Args:
        json: Whether to write JSON instead of console output. By default, JSON unless the stream is a terminal.
        level: The minimum level to log.
        redact: What to search for, and what to replace it with; by default `Redact()`. With the strategies `"tokenize"`
            and `"block"`, the log shows the entity's name instead.
        stream: Where to write; by default standard error.

    Raises:
        ConfigurationError: The level is unknown.

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
    """Writes log lines; reports a line that cannot be written without showing its content."""

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
            LogValues(redact.replacer()),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
    )


def _renderers(*, json: bool, colors: bool) -> Sequence[Processor]:
    if json:
        return [structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback  # other formatters show local variables
    console = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)
    return [for_terminals, console]


def _tidy(logger: WrappedLogger, name: str, event_dict: EventDict) -> EventDict:
    """Give a standard-library record the field names of a structlog entry."""
    event_dict.pop("color_message", None)  # uvicorn repeats the event here
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
    """Install a handler on the root logger as the only handler of the process."""
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
    """Keep a uvicorn that starts later from installing its own handlers."""
    try:
        from uvicorn.config import LOGGING_CONFIG
    except ImportError:
        return
    config: dict[str, Any] = LOGGING_CONFIG
    config["handlers"] = {}
    for logger in config["loggers"].values():
        logger["handlers"] = []
        logger["propagate"] = True
