"""The process that runs one PostgreSQL for as long as anybody holds a lease on it.

`embedded.py` starts this file by its path, so that it needs nothing but the standard library:

    python -I -S keeper.py KEEPER_FD SERVER_FD UID GID PORT FOLDER POSTGRES [ARGUMENT ...]

The two file descriptors hold `keeper.lock` and `server.lock`. PostgreSQL and all its processes
inherit the second one: it is free only when nothing of the server is left.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_STOPPING = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))


def main(arguments: list[str]) -> None:
    """Run the server, publish its port once it is ready, stop it after the last client."""
    if os.fork():
        os._exit(0)  # the one who started us must neither wait for us nor find us in its os.wait()
    keeper_fd, server_fd, uid, gid = map(int, arguments[:4])
    port, folder, command = arguments[4], Path(arguments[5]), arguments[6:]
    clients = os.open(folder / "clients.lock", os.O_RDWR)
    # A service manager signals the whole group on stop; clients that are still draining need their database.
    # Handlers and not SIG_IGN, which PostgreSQL would inherit.
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, _ignore)
    server: subprocess.Popen[Any] = subprocess.Popen(
        command, pass_fds=(server_fd,), preexec_fn=_dies_with_us(), **_as_user(uid, gid)
    )
    threading.Thread(target=_stop_after_last_client, args=(server, clients), daemon=True).start()
    if _becomes_ready(server, folder / "cluster" / "postmaster.pid"):
        os.pwrite(keeper_fd, port.encode(), 0)
    server.wait()


def _ignore(*_: object) -> None: ...


def _as_user(uid: int, gid: int) -> dict[str, Any]:
    return {"user": uid, "group": gid, "extra_groups": []} if uid >= 0 else {}


def _dies_with_us() -> Callable[[], None] | None:
    """Have the kernel stop the server if we are killed (Linux; elsewhere the next start stops it)."""
    if not sys.platform.startswith("linux"):
        return None
    libc, keeper = ctypes.CDLL(None), os.getpid()

    def in_child() -> None:
        # Runs after the change of user, which would clear the setting; the signal comes when the thread that
        # started the server ends, so that must be the main thread.
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(1)

    return in_child


def _becomes_ready(server: subprocess.Popen[Any], pid_file: Path) -> bool:
    while server.poll() is None:
        try:
            lines = pid_file.read_text().splitlines()
        except FileNotFoundError:
            lines = []
        if len(lines) > 7 and lines[0] == str(server.pid) and lines[7].strip() == "ready":
            return True
        time.sleep(0.01)
    return False


def _stop_after_last_client(server: subprocess.Popen[Any], clients: int) -> None:
    fcntl.flock(
        clients, fcntl.LOCK_EX
    )  # kept until we end: nobody becomes a client of a server that is going
    for how, patience in _STOPPING:
        server.send_signal(how)
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return


if __name__ == "__main__":
    main(sys.argv[1:])
