"""All that a run leaves behind, as texts."""

from __future__ import annotations

import hashlib
import json
import logging
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import ormsgpack
import psycopg
import structlog
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langgraph.types import Interrupt
from psycopg import sql
from pydantic import BaseModel
from structlog.testing import LogCapture

_TABLES = """
    SELECT table_schema, table_name, array_agg(column_name::text), array_agg(data_type::text)
    FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
    GROUP BY 1, 2 ORDER BY 1, 2"""


class Evidence:
    """Texts, each with the place where it was found; the same text is kept once for each place."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, bytes], str] = {}

    def add(self, place: str, *values: Any) -> None:
        """Keep values, as texts."""
        for value in values:
            text = value if isinstance(value, str) else written(value)
            digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
            self._texts[place, digest] = text

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((place, text) for (place, _), text in self._texts.items())


def collect_database(evidence: Evidence, dsn: str, *, integers: Iterable[int] = ()) -> int:
    """Every column of every row of every table; gives the number of rows."""
    rows = 0
    packed = {number: ormsgpack.packb(number) for number in integers}
    with psycopg.connect(dsn) as connection:
        for schema, table, columns, types in connection.execute(_TABLES).fetchall():
            wanted = [
                sql.Identifier(column)
                if kind == "bytea"
                else sql.SQL("{}::text").format(sql.Identifier(column))
                for column, kind in zip(columns, types, strict=True)
            ]
            query = sql.SQL("SELECT {} FROM {}").format(
                sql.SQL(", ").join(wanted), sql.Identifier(schema, table)
            )
            for row in connection.execute(query):
                rows += 1
                for column, cell in zip(columns, row, strict=True):
                    if cell is not None:
                        evidence.add(f"table {table}.{column}", *_readings(cell))
                    if isinstance(cell, bytes):
                        hidden = [str(n) for n, raw in packed.items() if raw in cell]
                        evidence.add(f"table {table}.{column}", *hidden)
    return rows


def _readings(cell: Any) -> Iterator[str]:
    if not isinstance(cell, bytes):
        yield str(cell)
        return
    yield cell.decode(errors="replace")
    if b"\0" in cell:
        yield cell.decode("utf-16-le", errors="replace")
        yield cell.decode("utf-16-be", errors="replace")
    try:
        yield repr(ormsgpack.unpackb(cell, ext_hook=_extension, option=_ANY_KEY))
    except ValueError:
        return


_ANY_KEY = ormsgpack.OPT_NON_STR_KEYS


def _extension(code: int, data: bytes) -> Any:
    try:
        return ormsgpack.unpackb(data, ext_hook=_extension, option=_ANY_KEY)
    except ValueError:
        return data


class Reader:
    """Reads a stream: each part by itself, and the texts that go on from part to part."""

    def __init__(self, evidence: Evidence, place: str) -> None:
        self._evidence = evidence
        self._place = place
        self._texts: dict[tuple[Hashable, ...], list[str]] = {}

    def part(self, part: Any) -> None:
        """Take a part of the stream."""
        self._evidence.add(self._place, part)
        for path, text in _leaves(part):
            self._texts.setdefault(path, []).append(text)
            flat = tuple(step for step in path if not isinstance(step, int))
            if flat != path:
                self._texts.setdefault(("all", *flat), []).append(text)

    def end(self) -> None:
        """Keep what was said over several parts."""
        for pieces in self._texts.values():
            if len(pieces) > 1:
                self._evidence.add(self._place, "".join(pieces))
        self._texts.clear()


def written(value: Any) -> str:
    """All that a value holds, as a text."""
    try:
        return json.dumps(value, default=_plain, ensure_ascii=False)
    except (TypeError, ValueError):  # keys that are no texts, or a value that holds itself
        return repr(value)


def _plain(value: Any) -> Any:
    match value:
        case BaseModel():  # LangChain's own representation of messages is slow
            return {**vars(value), **(value.model_extra or {})}
        case set() | frozenset() | deque():
            return list(value)
        case Mapping():
            return dict(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name, None) for field in fields(value)}
        case _:
            return getattr(value, "ops", None) or repr(value)


def _leaves(  # noqa: C901 - one branch a shape
    value: Any, path: tuple[Hashable, ...] = ()
) -> Iterator[tuple[tuple[Hashable, ...], str]]:
    """The texts of a value, each with its place; that of a message, run or block has its id in it."""
    match value:
        case str():
            yield path, value
        case dict():
            names = (value.get(key) for key in ("run_id", "id", "index", "tool_call_id", "path"))
            told = (name for name in names if isinstance(name, (str, int)))
            inside = (*path, *told)
            for name, inner in value.items():
                yield from _leaves(inner, (*inside, str(name)))
        case (BaseMessage() as message, {"langgraph_node": _} as told):
            place = (told.get("langgraph_checkpoint_ns"), told["langgraph_node"])
            yield from _leaves(message, (*path, *place, message.id or ""))
            yield from _leaves(message, (*path, *place))
            yield from _leaves(told, (*path, "metadata"))
        case list() | tuple():
            for at, inner in enumerate(value):
                yield from _leaves(inner, (*path, at))
        case BaseMessage():
            for name in ("content", "additional_kwargs", "tool_calls", "tool_call_chunks"):
                if inner := getattr(value, name, None):
                    yield from _leaves(inner, (*path, name))
        case BaseModel():
            yield from _leaves(dict(value), path)
        case Interrupt():
            yield from _leaves(value.value, path)
        case _ if is_dataclass(value) and not isinstance(value, type):
            for field in fields(value):
                yield from _leaves(getattr(value, field.name, None), (*path, field.name))
        case _ if hasattr(value, "ops"):  # a patch of `astream_log`
            yield from _leaves(value.ops, path)


class Watcher(BaseCallbackHandler):
    """A user's own callback handler, which keeps all that it is told."""

    run_inline = True
    raise_error = True

    def __init__(self, evidence: Evidence, place: str) -> None:
        self._evidence = evidence
        self._place = place
        self._tokens: dict[Any, list[str]] = {}
        self._names: dict[Any, str] = {}
        self._events = Reader(evidence, f"{place}: on_custom_event")

    def _note(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        run_id = kwargs.get("run_id")
        name = self._names.setdefault(run_id, str(kwargs.get("name")))
        place = f"{self._place}: {method} of {name}"
        self._evidence.add(place, args, kwargs)
        for error in (arg for arg in args if isinstance(arg, BaseException)):
            collect_error(self._evidence, place, error)
        if method == "on_llm_new_token":
            token = kwargs.get("token", args[0] if args else "")
            self._tokens.setdefault(run_id, []).append(str(token))
        elif method == "on_custom_event":
            self._events.part(args)

    def end(self) -> None:
        """Keep what was told token by token."""
        self._events.end()
        for run_id, tokens in self._tokens.items():
            place = f"{self._place}: on_llm_new_token of {self._names[run_id]}"
            self._evidence.add(place, "".join(tokens))


def _noting(name: str) -> Callable[..., None]:
    def method(self: Watcher, *args: Any, **kwargs: Any) -> None:
        self._note(name, *args, **kwargs)

    method.__name__ = name
    return method


for _name in (
    *("on_llm_new_token", "on_llm_end", "on_llm_error", "on_chat_model_start", "on_llm_start"),
    *("on_tool_start", "on_tool_end", "on_tool_error", "on_retriever_start", "on_retriever_end"),
    *("on_retriever_error", "on_chain_start", "on_chain_end", "on_chain_error", "on_custom_event"),
):
    setattr(Watcher, _name, _noting(_name))


def collect_error(evidence: Evidence, place: str, error: BaseException) -> None:
    """An error with its traceback, causes and attributes."""
    evidence.add(place, "".join(traceback.format_exception(error)), error, str(error), error.args)
    evidence.add(place, vars(error))


class _Lines(logging.Handler):
    def __init__(self, evidence: Evidence) -> None:
        super().__init__(logging.DEBUG)
        self._evidence = evidence

    def emit(self, record: logging.LogRecord) -> None:
        self._evidence.add("log", f"{self.format(record)} {vars(record)!r}")


@contextmanager
def collecting_logs(evidence: Evidence) -> Iterator[None]:
    """Every line that is logged meanwhile, by any logger, from DEBUG on."""
    handler, root = _Lines(evidence), logging.getLogger()
    loggers = [root, *(logger for logger in _loggers() if not logger.propagate)]
    levels = {logger: logger.level for logger in (root, *_loggers())}
    lines = LogCapture()
    processors = structlog.get_config()["processors"]
    with ExitStack() as stack:
        for logger in loggers:
            logger.addHandler(handler)
            stack.callback(logger.removeHandler, handler)
        for logger, level in levels.items():
            logger.setLevel(logging.DEBUG)
            stack.callback(logger.setLevel, level)
        kept = list(processors)
        processors[:] = [structlog.contextvars.merge_contextvars, lines]
        stack.callback(processors.__setitem__, slice(None), kept)
        yield
        evidence.add("log", *lines.entries)


def _loggers() -> list[logging.Logger]:
    known = logging.Logger.manager.loggerDict.values()
    return [logger for logger in known if isinstance(logger, logging.Logger)]
