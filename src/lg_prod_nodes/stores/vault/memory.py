"""The sealed records of a vault in memory, which end with the process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from uuid import UUID


class MemoryRecords:
    """Sealed records in dictionaries; the methods are those of `PostgresRecords`."""

    def __init__(self) -> None:
        self._root = b""
        self._keys: dict[bytes, tuple[UUID, bytes]] = {}
        self._values: dict[UUID, dict[str, bytes]] = {}
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return "in the memory of this process"

    def root(self, new: bytes) -> bytes:
        """The wrapped root key; the given one if there was none."""
        with self._lock:
            self._root = self._root or new
            return self._root

    def replace_root(self, old: bytes, new: bytes) -> None:
        """Replace a wrapped root key, if it is still there."""
        with self._lock:
            if self._root == old:
                self._root = new

    def subject_key(self, subject: bytes, id: UUID, new: bytes) -> tuple[UUID, bytes]:
        """A subject's wrapped key and its id; the given ones if there were none."""
        with self._lock:
            held = self._keys.setdefault(subject, (id, new))
            self._values.setdefault(held[0], {})
            return held

    def keep(self, key: UUID, values: Mapping[str, bytes]) -> dict[str, bytes]:
        """Add the values whose tokens are new, and give what is there at all of them; nothing if the key is gone."""
        with self._lock:
            if (held := self._values.get(key)) is None:
                return {}
            return {token: held.setdefault(token, value) for token, value in values.items()}

    def read(
        self, subject: bytes, tokens: Sequence[str]
    ) -> tuple[tuple[UUID, bytes] | None, dict[str, bytes]]:
        """A subject's key, and its values by token."""
        with self._lock:
            if (key := self._keys.get(subject)) is None:
                return None, {}
            held = self._values[key[0]]
            return key, {token: held[token] for token in tokens if token in held}

    def forget(self, subject: bytes) -> bool:
        """Delete a subject's key and values; whether there was one."""
        with self._lock:
            if (key := self._keys.pop(subject, None)) is None:
                return False
            del self._values[key[0]]
            return True

    def close(self) -> None:
        """Nothing to close: the records stay for as long as this object."""
