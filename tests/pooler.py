"""PgBouncer, which gives each transaction any of its server connections, in front of a test's Postgres."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from tests.serving import free_port, wait_until

FETCHED = Path(__file__).parents[1] / ".cache/pgbouncer/pgbouncer"

Behind = Callable[[str], str]
"""The DSN of the same database behind the pooler."""


def executable() -> str:
    """The pgbouncer of the machine, or the one that `make tests` brings."""
    found = os.environ.get("PGBOUNCER") or (str(FETCHED) if FETCHED.exists() else None)
    found = found or shutil.which("pgbouncer")
    assert found, "there is no pgbouncer; run `make .cache/pgbouncer/ready`"
    return found


@contextmanager
def pgbouncer(server: str, *, prepared: bool, size: int = 8) -> Iterator[Behind]:
    """Run a pooler in transaction mode.

    Args:
        server: The DSN of the administrator.
        prepared: Whether it keeps prepared statements, as 1.21 and newer do; else it is like the ones before.
        size: How many server connections it has for a database.
    """
    parts, port = urlsplit(server), free_port()
    with TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        password = unquote(parts.password or "")
        (folder / "users").write_text(f'"{parts.username}" "{password}"\n')
        (folder / "ini").write_text(
            f"""[databases]
* = host=127.0.0.1 port={parts.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 500
max_prepared_statements = {200 if prepared else 0}
unix_socket_dir =
{"user = nobody" if os.getuid() == 0 else ""}
"""
        )
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)
        command = [executable(), "-q", str(folder / "ini")]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                wait_until(lambda: _listens(port))
                yield (
                    lambda dsn: (
                        f"postgresql://{parts.username}@127.0.0.1:{port}/{urlsplit(dsn).path[1:]}"
                    )
                )
            finally:
                process.terminate()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
