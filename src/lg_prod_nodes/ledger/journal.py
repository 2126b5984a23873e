"""What no database has yet: lines in files of this process, which survive it however it dies.

A process has a lock of its own, `<name>.lock`, and files `<name>.<number>.jsonl` to which it appends. The kernel frees
the lock at any death, so who gets it may send what is left.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from filelock import FileLock, Timeout

from lg_prod_nodes.core.errors import StoreUnavailable
from lg_prod_nodes.ledger.entries import Record

MOST_BYTES = 1 << 30
"""How much may wait for a database that is down: about a million calls."""

_FILE_BYTES = 1 << 20
_PIECE_BYTES = 1 << 18


@dataclass(slots=True)
class _File:
    path: Path
    size: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Records in the order in which they were written, up to an offset in a file."""

    records: list[Record]
    file: _File
    end: int


class Backlog:
    """Files whose records are to be sent, the oldest first."""

    def __init__(self, files: list[_File]) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._written, self._sent = sum(file.size for file in files), 0

    @property
    def unsent(self) -> int:
        """How many bytes are left."""
        return self._written - self._sent

    def next(self) -> Piece | None:
        """The records to send next, `None` when nothing is left."""
        with self._lock:
            file = next((file for file in self._files if file.sent < file.size), None)
        if file is None:
            return None
        with file.path.open("rb") as opened:
            opened.seek(file.sent)
            data = opened.read(min(_PIECE_BYTES, file.size - file.sent))
        whole = data.rfind(b"\n") + 1 or len(data)  # a line of a process that died may be torn
        return Piece(_records(data[:whole]), file, file.sent + whole)

    def sent(self, piece: Piece) -> int:
        """Note that the records are where they belong; a file of nothing else is deleted, but for the last one.

        Returns:
            How many bytes that were.
        """
        size = piece.end - piece.file.sent
        self._sent += size
        piece.file.sent = piece.end
        with self._lock:
            for file in [file for file in self._files[:-1] if file.sent == file.size]:
                file.path.unlink(missing_ok=True)
                self._files.remove(file)
        return size

    def delete(self) -> None:
        """Delete the files."""
        for file in self._files:
            file.path.unlink(missing_ok=True)
        self._files.clear()


class Journal(Backlog):
    """The files of this process.

    Args:
        folder: Where they are, beside those of other processes.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__([])
        self._name = f"{os.getpid()}-{os.urandom(6).hex()}"
        self._folder = folder
        self._process = FileLock(folder / f"{self._name}.lock", thread_local=False)
        self._process.acquire(blocking=False)
        self._open: int | None = None
        self._number = 0
        self._marks: deque[tuple[int, float]] = deque()

    @property
    def lag(self) -> float:
        """Seconds for which the oldest record that is not sent has waited, to a second."""
        with self._lock:
            self._drop_marks()
            return monotonic() - self._marks[0][1] if self._marks else 0.0

    def write(self, record: Record) -> None:
        """Append a record. It outlives the process at once, and the machine's power as soon as the system wrote it.

        Raises:
            StoreUnavailable: As much waits already as may, or the disk is full.
        """
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self.unsent + len(line) > MOST_BYTES:
                raise StoreUnavailable(f"{MOST_BYTES} bytes of the ledger's journal are not sent")
            self._mark(monotonic())
            self._append(line)

    def _mark(self, now: float) -> None:
        """Note how much was written by now, once a second at most."""
        self._drop_marks()
        if not self._marks or now - self._marks[-1][1] >= 1:
            self._marks.append((self._written, now))

    def _drop_marks(self) -> None:
        if not self.unsent:
            self._marks.clear()
        while len(self._marks) > 1 and self._marks[1][0] <= self._sent:
            self._marks.popleft()

    def _append(self, line: bytes) -> None:
        file = self._current()
        assert self._open is not None
        try:
            written = os.write(self._open, line)
        except OSError as error:
            raise StoreUnavailable("the ledger's journal cannot be written") from error
        file.size += written
        self._written += written
        if written < len(line):
            self._close_file()  # the next record begins a file of its own
            raise StoreUnavailable("the ledger's journal cannot be written: the disk is full")

    def _current(self) -> _File:
        if self._open is not None and self._files[-1].size < _FILE_BYTES:
            return self._files[-1]
        self._close_file()
        self._number += 1
        path = self._folder / f"{self._name}.{self._number:06}.jsonl"
        self._open = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._files.append(_File(path))
        return self._files[-1]

    def close(self) -> None:
        """Close the files. What is not sent is left to whoever comes next."""
        with self._lock:
            self._close_file()
            if not self.unsent:
                self.delete()
        _let_go(self._process)

    def _close_file(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            os.close(opened)


def names_in(folder: Path) -> set[str]:
    """The processes that have left files in a folder, and those that still write some."""
    return {path.name.partition(".")[0] for path in folder.glob("*.jsonl")}


@contextmanager
def left_by(folder: Path, name: str) -> Generator[Backlog | None]:
    """The files of a process that has died, `None` where it lives or somebody else has taken them."""
    lock = FileLock(folder / f"{name}.lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield None
        return
    try:
        paths = sorted(folder.glob(f"{name}.*.jsonl"))
        yield Backlog([_File(path, path.stat().st_size) for path in paths])
    finally:
        _let_go(lock)


def _let_go(lock: FileLock) -> None:
    with suppress(OSError):  # where an open file cannot be deleted, it stays
        os.unlink(lock.lock_file)
    lock.release()


def _records(data: bytes) -> list[Record]:
    records: list[Record] = []
    for line in data.splitlines():
        with suppress(ValueError):
            records.append(json.loads(line))
    return records
