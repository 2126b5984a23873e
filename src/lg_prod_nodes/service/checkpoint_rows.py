"""The rows of a checkpoint, or of the writes of a task, and the statement that inserts those of many runs at once.

What is inserted, and what wins where a row is there already, is as in LangGraph's saver. Each column of a table is one
array, so the statement is the same for any number of rows, and prepared once. Everything that writes checkpoints goes
through `statement_of`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import isfinite
from typing import Any, NamedTuple

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    get_serializable_checkpoint_metadata,
)

from lg_prod_nodes.runtime.langgraph import is_delta_snapshot
from lg_prod_nodes.service.fencing import CHECK, values_of
from lg_prod_nodes.stores.threads.lease import Lease

Dump = Callable[[Any], tuple[str, bytes]]
"""A serializer's `dumps_typed`."""

_ROW_BYTES = 200  # what a row has besides its content
_CONSTANTS = frozenset({str, int, bool, type(None)})


class CheckpointRows(NamedTuple):
    """CheckpointRows of one thread, one tuple each.

    Attributes:
        keys: Two `CheckpointRows` with a key in common may write the same row.
        size: Their bytes, roughly.
        checkpoints: New or changed ones.
        blobs: New ones; those that are there already stay.
        writes: New ones; those that are there already stay.
        special_writes: Of errors, interrupts and the like, which replace those that are there already.
        leases: What the run must still hold for its rows to be inserted.
    """

    keys: tuple[tuple[str, ...], ...]
    size: int
    checkpoints: Sequence[tuple[Any, ...]] = ()
    blobs: Sequence[tuple[Any, ...]] = ()
    writes: Sequence[tuple[Any, ...]] = ()
    special_writes: Sequence[tuple[Any, ...]] = ()
    leases: Sequence[Lease] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to insert."""
        return not (self.checkpoints or self.writes or self.special_writes)


def channels_over(size: int, rows: CheckpointRows) -> set[str]:
    """The channels that have a value of more bytes than `size`."""
    blobs = {row[2] for row in rows.blobs if len(row[-1]) > size}
    return blobs | {row[6] for row in (*rows.writes, *rows.special_writes) if len(row[-1]) > size}


class _Table(NamedTuple):
    """How the rows of one field of `CheckpointRows` are inserted."""

    name: str
    columns: Mapping[str, str]
    key: str
    replaced: Sequence[str] = ()

    def insert(self, *, is_fenced: bool) -> str:
        """The statement, with one parameter for each column; a fenced one waits for `_HELD`."""
        arrays = ", ".join(f"%b::{_ARRAYS.get(kind, kind)}[]" for kind in self.columns.values())
        values = ", ".join(f"{column}::{kind}" for column, kind in self.columns.items())
        names = ", ".join(self.columns)
        replaced = ", ".join(f"{column} = excluded.{column}" for column in self.replaced)
        return (
            f"INSERT INTO {self.name} ({names}) SELECT {values} FROM unnest({arrays}) AS given ({names}) "
            f"{'CROSS JOIN held WHERE held.number > 0 ' if is_fenced else ''}"
            f"ON CONFLICT ({self.key}) DO {f'UPDATE SET {replaced}' if replaced else 'NOTHING'}"
        )


_ARRAYS = {"jsonb": "text"}
_WRITES = {
    "thread_id": "text",
    "checkpoint_ns": "text",
    "checkpoint_id": "text",
    "task_id": "text",
    "task_path": "text",
    "idx": "integer",
    "channel": "text",
    "type": "text",
    "blob": "bytea",
}
_WRITES_KEY = "thread_id, checkpoint_ns, checkpoint_id, task_id, idx"
_TABLES = {
    "blobs": _Table(
        "checkpoint_blobs",
        {
            "thread_id": "text",
            "checkpoint_ns": "text",
            "channel": "text",
            "version": "text",
            "type": "text",
            "blob": "bytea",
        },
        "thread_id, checkpoint_ns, channel, version",
    ),
    "checkpoints": _Table(
        "checkpoints",
        {
            "thread_id": "text",
            "checkpoint_ns": "text",
            "checkpoint_id": "text",
            "parent_checkpoint_id": "text",
            "checkpoint": "jsonb",
            "metadata": "jsonb",
        },
        "thread_id, checkpoint_ns, checkpoint_id",
        replaced=("checkpoint", "metadata"),
    ),
    "writes": _Table("checkpoint_writes", _WRITES, _WRITES_KEY),
    "special_writes": _Table(
        "checkpoint_writes", _WRITES, _WRITES_KEY, replaced=("channel", "type", "blob")
    ),
}


_HELD = f"held AS MATERIALIZED (SELECT count(checked.*) AS number FROM ({CHECK}) AS checked)"
"""Fails unless all leases of a batch are held."""


def statement_of(batch: Sequence[CheckpointRows]) -> tuple[str, list[list[Any]]]:
    """The statement that inserts all rows of a batch, and its parameters; an empty one if there are none."""
    rows = {name: [row for given in batch for row in getattr(given, name)] for name in _TABLES}
    filled = tuple(name for name, found in rows.items() if found)
    columns = [list(column) for name in filled for column in zip(*rows[name], strict=True)]
    leases = [lease for given in batch for lease in given.leases]
    if leases and filled:
        return _inserting(filled, is_fenced=True), [*values_of(leases), *columns]
    return _inserting(filled, is_fenced=False), columns


@cache
def _inserting(names: tuple[str, ...], *, is_fenced: bool) -> str:
    if not names:
        return ""
    *others, last = (_TABLES[name].insert(is_fenced=is_fenced) for name in names)
    parts = [f"part{number} AS ({insert})" for number, insert in enumerate(others)]
    aside = ", ".join([_HELD, *parts] if is_fenced else parts)
    return f"WITH {aside} {last}" if aside else last


def checkpoint_rows(
    dump: Dump,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
) -> CheckpointRows:
    """The rows of a checkpoint: its plain values are part of its own, each other value that is new has one."""
    configurable = config.get("configurable", {})
    thread, namespace = configurable["thread_id"], configurable["checkpoint_ns"]
    inline, apart = _parted(checkpoint["channel_values"])
    blobs = [
        (_text(thread), namespace, channel, _text(version), *dump(apart[channel]))
        for channel, version in new_versions.items()
        if channel in apart
    ]
    row = (
        _text(thread),
        namespace,
        checkpoint["id"],
        configurable.get("checkpoint_id"),
        _json({**checkpoint, "channel_values": inline}, inline),
        json.dumps(get_serializable_checkpoint_metadata(config, metadata)),
    )
    size = len(row[4]) + len(row[5]) + _ROW_BYTES + _size_of(blobs)
    return CheckpointRows(((row[0], namespace, row[2]),), size, checkpoints=[row], blobs=blobs)


def write_rows(
    dump: Dump,
    config: RunnableConfig,
    writes: Sequence[tuple[str, Any]],
    task_id: str,
    task_path: str,
) -> CheckpointRows:
    """The rows of a task's writes."""
    configurable = config.get("configurable", {})
    place = (
        _text(configurable["thread_id"]),
        configurable["checkpoint_ns"],
        configurable["checkpoint_id"],
        task_id,
    )
    rows = [
        (*place, task_path, WRITES_IDX_MAP.get(channel, number), channel, *dump(value))
        for number, (channel, value) in enumerate(writes)
    ]
    if all(channel in WRITES_IDX_MAP for channel, _ in writes):
        latest = {row[5]: row for row in rows}
        return CheckpointRows((place,), _size_of(rows), special_writes=list(latest.values()))
    return CheckpointRows((place,), _size_of(rows), writes=rows)


def _parted(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of channels that are part of the checkpoint's own row, and the others."""
    inline: dict[str, Any] = {}
    apart: dict[str, Any] = {}
    for channel, value in values.items():
        if is_delta_snapshot(value):
            apart[channel], inline[channel] = value, True
        elif value is None or isinstance(value, (str, int, float)):
            inline[channel] = value
        else:
            apart[channel] = value
    return inline, apart


def _size_of(rows: Sequence[tuple[Any, ...]]) -> int:
    return sum(len(row[-1]) + _ROW_BYTES for row in rows)


def _text(value: Any) -> Any:
    """What Postgres makes of an id of another type, such as a number or a UUID."""
    return value if value is None or isinstance(value, str) else str(value)


def _json(checkpoint: Mapping[str, Any], inline: Mapping[str, Any]) -> str:
    """Serialize a checkpoint as `json.dumps` does, if faster where no value is one that `orjson` writes differently."""
    if all(_is_plain(value) for value in inline.values()):
        try:
            return orjson.dumps(checkpoint).decode()
        except TypeError:  # an integer of more than 64 bits, an unpaired surrogate
            pass
    return json.dumps(checkpoint)


def _is_plain(value: Any) -> bool:
    return type(value) in _CONSTANTS or (type(value) is float and isfinite(value))
