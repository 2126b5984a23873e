"""All that a run leaves behind, as texts, and the search for planted values in them."""

from __future__ import annotations

import hashlib
import html
import json
import logging
import re
import traceback
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from typing import Any
from urllib.parse import unquote

import ormsgpack
import psycopg
import re2
import structlog
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langgraph.types import Interrupt
from psycopg import sql
from pydantic import BaseModel
from structlog.testing import LogCapture
from tests.canary.values import Planted

_TABLES = """
    SELECT table_schema, table_name, array_agg(column_name::text), array_agg(data_type::text)
    FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
    GROUP BY 1, 2 ORDER BY 1, 2"""

_SEPARATORS = str.maketrans("", "", " \t\n\r\v\f().-/")
_UNICODE_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_LONGEST_BY_CHANCE = 12
"""Digits with fewer places may stand in an id by chance."""


class Evidence:
    """Texts, each with the place where it was found; the same text is kept once for each place."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, bytes], str] = {}

    def add(self, place: str, *values: Any) -> None:
        """Keep values, as they are written and as they are represented."""
        for value in values:
            text = value if isinstance(value, str) else repr(value)
            digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
            self._texts[place, digest] = text

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((place, text) for (place, _), text in self._texts.items())

    @property
    def places(self) -> set[str]:
        return {place for place, _ in self._texts}

    @property
    def characters(self) -> int:
        return sum(map(len, self._texts.values()))


class Search:
    """Looks for planted values: whole or in part, in any of the ways in which they may be written."""

    def __init__(self, planted: Iterable[Planted]) -> None:
        self._whole: dict[str, Planted] = {}
        self._squeezed: dict[str, Planted] = {}
        self._digits: dict[str, Planted] = {}
        for each in planted:
            for part in _parts(each.value, each.entity):
                self._whole[part] = each
            digits = re.sub(r"\D", "", each.value)
            if digits == _squeeze(each.value).lstrip("+") and len(digits) < _LONGEST_BY_CHANCE:
                self._digits[digits] = each
            self._squeezed |= dict.fromkeys(_windows(_squeeze(each.value.lower())), each)
        self._patterns = (
            (self._whole, _any_of("({})", self._whole), False),
            (self._squeezed, _any_of("({})", self._squeezed), True),
            (self._digits, _any_of(r"(?:^|\D)({})(?:\D|$)", self._digits), False),
        )

    def __call__(self, text: str) -> set[Planted]:
        """What of the planted is found in a text."""
        found: set[Planted] = set()
        for form in _forms(text):
            written = {False: form.encode(errors="replace")}
            written[True] = _squeeze(form).encode(errors="replace")
            for known, pattern, squeezed in self._patterns:
                hits = pattern.finditer(written[squeezed]) if pattern else ()
                found |= {known[hit.group(1).decode()] for hit in hits}
        return found

    def leaks(self, evidence: Evidence) -> dict[Planted, set[str]]:
        """What was found, and in which places."""
        found: dict[Planted, set[str]] = {}
        for place, text in evidence:
            for planted in self(text):
                found.setdefault(planted, set()).add(place)
        return found


def seen(planted: Iterable[Planted], evidence: Evidence) -> set[Planted]:
    """What of the planted is found at all: what was found already is not looked for again."""
    left, found = set(planted), set[Planted]()
    search = Search(left)
    for _, text in evidence:
        found |= search(text)
        if 4 * len(found & left) > len(left):
            left -= found
            search = Search(left)
    return found


def told(leaks: Mapping[Planted, Iterable[str]]) -> list[str]:
    """Leaks by surface: which entities were found where, never their values."""
    by_surface: dict[str, tuple[set[str], set[str]]] = {}
    for planted, places in leaks.items():
        entities, where = by_surface.setdefault(planted.surface, (set(), set()))
        entities.add(planted.entity)
        where.update(places)
    return [
        f"{surface} [{', '.join(sorted(entities))}] in {', '.join(sorted(where))}"
        for surface, (entities, where) in sorted(by_surface.items())
    ]


def _parts(value: str, entity: str) -> Iterator[str]:
    """A value and its telling parts, since a part of it is a leak as well."""
    low = value.lower()
    if entity == "BLOCKED":
        yield low[:-4]  # of a phrase that is cut, most is too much
    yield from (line for line in low.splitlines() if not line.startswith("-----"))
    if "@" in low:
        local, _, domain = low.partition("@")
        yield from (local, domain.partition(".")[0])
    elif len(low) >= 2 * _LONGEST_BY_CHANCE and " " not in low:
        yield low[-_LONGEST_BY_CHANCE:]


def _windows(squeezed: str) -> Iterator[str]:
    digits = sum(map(str.isdigit, squeezed))
    if len(squeezed) >= _LONGEST_BY_CHANCE and 2 * digits > len(squeezed) and ":" not in squeezed:
        yield squeezed[:_LONGEST_BY_CHANCE]
        yield squeezed[-_LONGEST_BY_CHANCE:]


def _any_of(form: str, needles: Iterable[str]) -> Any:
    options = re2.Options()
    options.max_mem = 64 << 20
    alternatives = "|".join(map(re2.escape, sorted(needles, key=len, reverse=True)))
    return re2.compile(form.format(alternatives).encode(), options) if alternatives else None


def _forms(text: str) -> set[str]:
    """A text as it is, and without what may hide a value in it: escapes, encodings, invisible characters."""
    forms = {text.lower()}
    for _ in range(2):
        if "\\" in text:
            text = _UNICODE_ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text)
            text = text.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
            forms.add(text.lower())
    plain = text
    if "%" in plain:
        plain = unquote(plain)
    if "&" in plain:
        plain = html.unescape(plain)
    if not plain.isascii():
        folded = unicodedata.normalize("NFKC", plain)
        hidden = {char for char in set(folded) if unicodedata.category(char) == "Cf"}
        plain = folded.translate(dict.fromkeys(map(ord, hidden)))
    return forms | {plain.lower()}


def _squeeze(text: str) -> str:
    return text.translate(_SEPARATORS)


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
        self._evidence.add(self._place, part, _as_json(part))
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


def _as_json(value: Any) -> str:
    return json.dumps(value, default=repr, skipkeys=True, ensure_ascii=False)


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
