"""The conversations that the demo plays, read from a file with one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HELP = """\
One JSON object a line:
  thread     name of the conversation, unlike all others
  user       whom limits and costs are counted for
  turns      what the user says, a list of texts
  approvals  answers to the desk's questions, such as "yes" or "no, too late"; may be left out: nobody answers
  pii        texts of the turns and approvals that must not reach the database; may be left out
  note       what the conversation shows; may be left out
"""
_TEXTS, _LISTS = ("thread", "user", "note"), ("turns", "approvals", "pii")
_NEEDED = ("thread", "user", "turns")


class BadFile(Exception):
    """The file is invalid; the message says why, line by line."""


@dataclass(frozen=True)
class Conversation:
    thread: str
    user: str
    turns: tuple[str, ...]
    approvals: tuple[str, ...] = ()
    pii: tuple[str, ...] = ()
    note: str = ""


def read(path: Path) -> list[Conversation]:
    """Read a file of conversations.

    Raises:
        BadFile: It cannot be read, or lines of it lack fields or have unknown or invalid ones.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} cannot be read: {error}") from error
    records = {number: _record(line) for number, line in enumerate(lines, 1) if line.strip()}
    problems = [
        f"line {n}: {problem}" for n, record in records.items() for problem in _problems(record)
    ]
    problems = problems or [*_contradictions(records)]
    if problems or not records:
        said = "\n  ".join(problems or ["it is empty"])
        raise BadFile(f"{path} cannot be played:\n  {said}\n\n{HELP}")
    return [_conversation(record) for record in records.values() if isinstance(record, dict)]


def _record(line: str) -> dict[str, Any] | str:
    """A line's conversation, or why it has none."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        return f"this is not JSON: {error.msg} at column {error.colno}"
    return record if isinstance(record, dict) else "this is not an object: write {...}"


def _problems(record: dict[str, Any] | str) -> Iterator[str]:
    if isinstance(record, str):
        yield record
        return
    yield from (f'"{name}" is missing' for name in _NEEDED if name not in record)
    for name, value in record.items():
        if name in _TEXTS and not (isinstance(value, str) and value.strip()):
            yield f'"{name}" must be a text'
        elif name in _LISTS and not (
            isinstance(value, list) and all(isinstance(v, str) and v for v in value)
        ):
            yield f'"{name}" must be a list of texts'
        elif name not in (*_TEXTS, *_LISTS):
            yield f'"{name}" is not known'
        elif name == "turns" and not value:
            yield '"turns" is empty'


def _contradictions(records: dict[int, Any]) -> Iterator[str]:
    """What is wrong between lines, or between the fields of one."""
    first: dict[str, int] = {}
    for number, record in records.items():
        if (line := first.setdefault(record["thread"], number)) != number:
            yield f'line {number}: the thread of line {line} again; give each line a "thread" of its own'
        said = "\n".join([*record["turns"], *record.get("approvals", ())])
        if any(value not in said for value in record.get("pii", ())):
            yield f'line {number}: "pii" names something that nobody says in "turns" or "approvals"'


def _conversation(record: dict[str, Any]) -> Conversation:
    fields: dict[str, Any] = {n: tuple(v) if n in _LISTS else v for n, v in record.items()}
    return Conversation(**fields)
