"""A vault in Postgres: across processes, against whoever reads or changes its tables, and without a database."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from lg_prod_nodes import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.errors import VaultTampered
from lg_prod_nodes.stores.vault.store import Session, Vault

PROGRAM = Path(__file__).parents[1] / "programs/vault_worker.py"
KEY, OTHER_KEY = secrets.token_bytes(32), secrets.token_bytes(32)
EMAIL, ADA = "EMAIL_ADDRESS", "ada@example.org"


class Worker:
    """Another process with a vault of its own; a method is called there."""

    def __init__(self, dsn: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), dsn, KEY.hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, name: str, *arguments: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.send(name, *arguments)
            return self.answer()

        return call


@pytest.fixture
def start(dsn: str) -> Iterator[Callable[[], Worker]]:
    workers: list[Worker] = []

    def start() -> Worker:
        workers.append(Worker(dsn))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.communicate()
        assert worker.process.returncode == 0


@pytest.fixture
def vault(dsn: str) -> Iterator[Vault]:
    with Vault(dsn, key=KEY, timeout=30) as vault:
        yield vault


@pytest.fixture
def admin(dsn: str, vault: Vault) -> Iterator[psycopg.Connection[Any]]:
    """Somebody with the rights to read and change the tables, which are there."""
    vault.forget("nobody")
    with psycopg.connect(dsn, autocommit=True) as admin:
        yield admin


def tokenize(vault: Vault, subject: str, *values: str) -> list[str]:
    return walked(vault, vault.session(subject), *values)


def walked(vault: Vault, session: Session, *values: str) -> list[str]:
    while True:
        tokens = [session.token(EMAIL, value) for value in values]
        if vault.keep(session):
            return tokens


def wait_for_a_lock(admin: psycopg.Connection[Any]) -> None:
    """Return once a statement waits for another transaction."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    deadline = time.monotonic() + 30
    while admin.execute(query).fetchone() == (0,):
        assert time.monotonic() < deadline, "nobody waits"


def test_another_process_resolves_what_this_one_gave(
    vault: Vault, start: Callable[[], Worker]
) -> None:
    (token,) = tokenize(vault, "ada", ADA)
    worker = start()

    assert worker.tokenize("ada", ADA) == token
    assert worker.restore("ada", f"to {token}") == f"to {ADA}"
    theirs = worker.tokenize("ada", "東京\ud800")
    vault.close()
    assert vault.restore("ada", theirs) == "東京\ud800"


def test_a_vault_survives_a_restart(dsn: str) -> None:
    with Vault(dsn, key=KEY) as before:
        tokens = tokenize(before, "ada", ADA, "b")
    with Vault(dsn, key=KEY) as after:
        assert after.resolve("ada", tokens) == dict(zip(tokens, [ADA, "b"], strict=True))
        assert tokenize(after, "ada", "b", ADA) == tokens[::-1]


def test_a_living_process_sees_that_a_subject_is_forgotten(
    vault: Vault, start: Callable[[], Worker]
) -> None:
    worker = start()
    old = worker.tokenize("ada", ADA)
    worker.token("ada", ADA)
    assert worker.keep("ada")
    assert worker.restore("ada", old) == ADA

    assert vault.forget("ada")

    assert worker.restore("ada", old) == old
    assert worker.token("ada", ADA) == old
    assert not worker.keep("ada")
    new = worker.token("ada", ADA)
    assert worker.keep("ada")
    assert new != old
    assert vault.restore("ada", f"{old} {new}") == f"{old} {ADA}"
    assert tokenize(vault, "ada", ADA) == [new]


def test_a_subject_that_came_back_elsewhere_is_resolved_here(dsn: str, vault: Vault) -> None:
    tokenize(vault, "ada", ADA)
    with Vault(dsn, key=KEY) as other:
        other.forget("ada")
        (new,) = tokenize(other, "ada", ADA)

    assert vault.restore("ada", new) == ADA


def test_processes_and_threads_that_open_a_new_subject_at_once_agree(
    vault: Vault, start: Callable[[], Worker], admin: psycopg.Connection[Any]
) -> None:
    workers = [start(), start()]
    for subject in ("ada", "bob", "eve"):
        for worker in workers:
            worker.send("tokenize_at_once", subject, ADA, 8)
        tokens = [worker.answer() for worker in workers]

        assert tokens == [tokenize(vault, subject, ADA)] * 2
    assert admin.execute("SELECT count(*) FROM lg_prod_nodes_vault_keys").fetchone() == (3,)


def test_vaults_that_start_on_an_empty_database_at_once_agree(dsn: str) -> None:
    vaults = [Vault(dsn, key=KEY, timeout=30) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        tokens = list(pool.map(lambda vault: tokenize(vault, "ada", ADA), vaults))
    for vault in vaults:
        vault.close()

    assert len({token for (token,) in tokens}) == 1


def test_no_table_shows_a_value_a_subject_or_a_key(
    vault: Vault, admin: psycopg.Connection[Any]
) -> None:
    (token,) = tokenize(vault, "subject-ada", ADA)
    root, key = vault._root, vault.session("subject-ada").key
    assert root
    assert key
    (subject,) = admin.execute("SELECT subject_hash FROM lg_prod_nodes_vault_keys").fetchall()
    assert subject == (root.name(b"subject-ada"),)

    tables = admin.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    ).fetchall()
    assert [name.removeprefix("lg_prod_nodes_vault") for (name,) in tables] == [
        "",
        "_keys",
        "_root",
    ]
    rows = [row for (name,) in tables for row in _all(admin, name)]
    dump = b"|".join(
        field if isinstance(field, bytes) else str(field).encode() for row in rows for field in row
    )
    secret = [ADA.encode(), b"ada", b"example", KEY, root._naming, key.key._naming]

    assert token.encode() in dump
    assert not [it for it in secret if it in dump or it.hex().encode() in dump]


def _all(admin: psycopg.Connection[Any], table: str) -> list[tuple[Any, ...]]:
    return admin.execute(sql.SQL("TABLE {}").format(sql.Identifier(table))).fetchall()


CHANGES: dict[str, LiteralString] = {
    "a bit": "UPDATE lg_prod_nodes_vault SET value = set_byte(value, 20, get_byte(value, 20) # 1)",
    "cut short": "UPDATE lg_prod_nodes_vault SET value = substr(value, 1, 5)",
    "emptied": "UPDATE lg_prod_nodes_vault SET value = ''",
    "another token's": """
        UPDATE lg_prod_nodes_vault v SET value = other.value FROM lg_prod_nodes_vault other
        WHERE other.key_id = v.key_id AND other.token <> v.token""",
    "another subject's": """
        UPDATE lg_prod_nodes_vault v SET value = other.value FROM lg_prod_nodes_vault other
        WHERE other.key_id <> v.key_id""",
    "a bit of a key": """
        UPDATE lg_prod_nodes_vault_keys
        SET wrapped_key = set_byte(wrapped_key, 20, get_byte(wrapped_key, 20) # 1)""",
    "another subject's key": """
        UPDATE lg_prod_nodes_vault_keys k SET wrapped_key = other.wrapped_key
        FROM lg_prod_nodes_vault_keys other WHERE other.id <> k.id""",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_tampered_with_is_refused(
    dsn: str, vault: Vault, admin: psycopg.Connection[Any], change: str
) -> None:
    tokens = tokenize(vault, "ada", ADA, "bob@example.org")
    tokenize(vault, "bob", ADA)
    assert admin.execute(CHANGES[change]).rowcount > 0

    with Vault(dsn, key=KEY) as fresh:
        session = fresh.session("ada")
        with pytest.raises(VaultTampered) as error:
            fresh.resolve("ada", tokens)
        with pytest.raises(VaultTampered):
            walked(fresh, session, ADA)
        assert session.pending
        assert "example" not in f"{error.value!r}"


@pytest.mark.parametrize("keys", [{"key": OTHER_KEY}, {"key": OTHER_KEY, "old_keys": [bytes(32)]}])
def test_another_master_key_is_refused(dsn: str, vault: Vault, keys: dict[str, Any]) -> None:
    (token,) = tokenize(vault, "ada", ADA)

    with Vault(dsn, **keys) as wrong:
        for use in (
            lambda: wrong.restore("ada", token),
            lambda: tokenize(wrong, "ada", ADA),
            lambda: wrong.forget("ada"),
        ):
            with pytest.raises(
                ConfigurationError, match="sealed under another master key"
            ) as error:
                use()
            assert repr(OTHER_KEY) not in f"{error.value}"
            assert OTHER_KEY.hex() not in f"{error.value}"
    assert vault.restore("ada", token) == ADA


def test_a_changed_root_is_refused(dsn: str, vault: Vault, admin: psycopg.Connection[Any]) -> None:
    (token,) = tokenize(vault, "ada", ADA)
    admin.execute("UPDATE lg_prod_nodes_vault_root SET wrapped_key = substr(wrapped_key, 2)")

    with Vault(dsn, key=KEY) as fresh, pytest.raises(ConfigurationError, match="root was changed"):
        fresh.restore("ada", token)


def test_a_new_master_key_replaces_an_old_one(dsn: str, vault: Vault) -> None:
    (token,) = tokenize(vault, "ada", ADA)
    with Vault(dsn, key=OTHER_KEY, old_keys=[bytes(32), KEY]) as rotating:
        assert rotating.restore("ada", token) == ADA

    with Vault(dsn, key=OTHER_KEY) as rotated:
        assert rotated.restore("ada", token) == ADA
        assert tokenize(rotated, "ada", ADA) == [token]
    assert vault.restore("ada", token) == ADA, "who has it open goes on"
    with Vault(dsn, key=KEY) as old, pytest.raises(ConfigurationError):
        old.restore("ada", token)


def test_keeping_waits_for_a_forgetting_that_is_under_way(
    dsn: str, vault: Vault, admin: psycopg.Connection[Any]
) -> None:
    session = vault.session("ada")
    (old,) = walked(vault, session, ADA)
    session.token(EMAIL, ADA)
    with psycopg.connect(dsn) as other, ThreadPoolExecutor() as pool:
        other.execute("DELETE FROM lg_prod_nodes_vault_keys")
        kept = pool.submit(vault.keep, session)
        wait_for_a_lock(admin)
        other.commit()
        assert not kept.result()

    assert walked(vault, session, ADA) != [old]
    assert vault.restore("ada", old) == old
    assert admin.execute("SELECT count(*) FROM lg_prod_nodes_vault").fetchone() == (1,)


@pytest.mark.parametrize("same", [True, False])
def test_two_that_give_one_token_at_once_find_out(
    dsn: str,
    vault: Vault,
    admin: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    same: bool,
) -> None:
    session = vault.session("ada")
    walked(vault, session, "first")
    assert session.key
    monkeypatch.setattr(
        type(session.key), "digest", lambda _, entity, value: bytes(9) + value.encode().zfill(23)
    )
    token = session.token(EMAIL, ADA)
    theirs = session.key.seal(token, ADA if same else "eve")
    insert = "INSERT INTO lg_prod_nodes_vault VALUES (%s, %s, %s)"
    with psycopg.connect(dsn) as other, ThreadPoolExecutor() as pool:
        other.execute(insert, [session.key.id, token, theirs])
        kept = pool.submit(vault.keep, session)
        wait_for_a_lock(admin)
        other.commit()
        assert kept.result() is same

    (own,) = walked(vault, session, ADA)
    assert (own == token) is same
    assert vault.resolve("ada", [own, token]) == {token: ADA if same else "eve", own: ADA}


def test_two_that_open_a_subject_at_once_take_one_key(
    dsn: str, vault: Vault, admin: psycopg.Connection[Any]
) -> None:
    tokenize(vault, "ada", ADA)
    row = admin.execute("TABLE lg_prod_nodes_vault_keys").fetchone()
    assert row
    vault.forget("ada")
    session = vault.session("ada")
    session.token(EMAIL, ADA)
    with psycopg.connect(dsn) as other, ThreadPoolExecutor() as pool:
        other.execute("INSERT INTO lg_prod_nodes_vault_keys VALUES (%s, %s, %s, %s)", row)
        kept = pool.submit(vault.keep, session)
        wait_for_a_lock(admin)
        other.commit()
        assert not kept.result()

    assert session.key
    assert session.key.id == row[0]


def test_two_that_make_a_vault_at_once_take_one_root(
    dsn: str, vault: Vault, admin: psycopg.Connection[Any]
) -> None:
    (token,) = tokenize(vault, "ada", ADA)
    row = admin.execute("DELETE FROM lg_prod_nodes_vault_root RETURNING *").fetchone()
    with (
        Vault(dsn, key=KEY, timeout=30) as late,
        psycopg.connect(dsn) as other,
        ThreadPoolExecutor() as pool,
    ):
        other.execute("INSERT INTO lg_prod_nodes_vault_root VALUES (%s, %s)", row)
        restored = pool.submit(late.restore, "ada", token)
        wait_for_a_lock(admin)
        other.commit()
        assert restored.result() == ADA

    assert admin.execute("TABLE lg_prod_nodes_vault_root").fetchall() == [row]


def test_a_role_without_the_right_to_make_tables_uses_those_that_are_there(
    dsn: str, vault: Vault, admin: psycopg.Connection[Any]
) -> None:
    (token,) = tokenize(vault, "ada", ADA)
    role = f"app_{secrets.token_hex(8)}"
    tables = "lg_prod_nodes_vault, lg_prod_nodes_vault_keys, lg_prod_nodes_vault_root"
    admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'app'".encode())
    admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role}".encode())
    place = urlsplit(dsn)
    theirs = place._replace(netloc=f"{role}:app@{place.hostname}:{place.port}").geturl()
    try:
        with Vault(theirs, key=KEY) as app:
            assert app.restore("ada", token) == ADA
            assert tokenize(app, "bob", ADA)
            assert app.forget("bob")
    finally:
        admin.execute(f"DROP OWNED BY {role}".encode())
        admin.execute(f"DROP ROLE {role}".encode())


def test_a_restart_of_the_database_fails_no_call(
    vault: Vault, admin: psycopg.Connection[Any]
) -> None:
    (token,) = tokenize(vault, "ada", ADA)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: tokenize(vault, "ada", f"{n}"), range(50)))
    cut = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s"
    )
    del cut
    admin.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    assert vault.restore("ada", token) == ADA
    assert tokenize(vault, "ada", ADA) == [token]


def test_an_unreachable_database_is_reported_by_its_host_alone() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dsn = f"postgresql://me:hush@127.0.0.1:{nobody.getsockname()[1]}/hidden"
        vault = Vault(dsn, key=KEY)
        session = vault.session("subject-ada")
        assert session.token(EMAIL, ADA) == "[EMAIL_ADDRESS]"
        with pytest.raises(StoreUnavailable) as error:
            vault.keep(session)

    assert str(error.value) == (
        "the Postgres at 127.0.0.1 refuses connections; start the server, or correct host and port"
    )
    chain = f"{error.value.__cause__!r}"
    assert not any(word in chain for word in ("hush", "ada", "example"))
    assert session.pending


def test_a_slow_database_is_not_waited_for(
    dsn: str, vault: Vault, admin: psycopg.Connection[Any]
) -> None:
    (token,) = tokenize(vault, "ada", ADA)
    with Vault(dsn, key=KEY, timeout=1) as hasty, psycopg.connect(dsn) as other:
        assert hasty.restore("ada", token) == ADA
        session = hasty.session("ada")
        session.token(EMAIL, "new")
        other.execute("LOCK lg_prod_nodes_vault")
        start = time.monotonic()
        for use in (lambda: hasty.keep(session), lambda: hasty.restore("ada", token)):
            with pytest.raises(StoreUnavailable) as error:
                use()
            assert "statement timeout" in f"{error.value.__cause__}"
        assert time.monotonic() - start < 10
        other.rollback()
        assert hasty.restore("ada", token) == ADA


class Relay:
    """Stands between a vault and its database, and can fall silent."""

    def __init__(self, dsn: str) -> None:
        place = urlsplit(dsn)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._target = (place.hostname or "", place.port or 0)
        self._sockets = [self._server]
        self.silent = Event()
        port = self._server.getsockname()[1]
        self.dsn = place._replace(
            netloc=f"{place.netloc.rpartition('@')[0]}@127.0.0.1:{port}"
        ).geturl()
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                database = socket.create_connection(self._target)
                self._sockets += [client, database]
                for ends in ((client, database), (database, client)):
                    Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.silent.is_set():
                    target.sendall(data)

    def close(self) -> None:
        for it in self._sockets:
            with suppress(OSError):
                it.shutdown(socket.SHUT_RDWR)
            it.close()


def test_a_silent_database_is_not_waited_for(
    dsn: str, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    (token,) = tokenize(vault, "ada", ADA)
    relay = Relay(dsn)
    with Vault(relay.dsn, key=KEY, timeout=1) as hasty:
        assert hasty.restore("ada", token) == ADA
        relay.silent.set()
        start = time.monotonic()
        with pytest.raises(StoreUnavailable) as error:
            hasty.restore("ada", token)
        assert "no answer" in f"{error.value.__cause__}"
        assert time.monotonic() - start < 10
        assert "rollback" not in caplog.text, "the connection is given up"
        relay.silent.clear()
        assert hasty.restore("ada", token) == ADA
    relay.close()


def test_one_thread_that_connects_without_end_holds_no_other(dsn: str) -> None:
    vault = Vault(dsn, key=KEY, timeout=0.1)
    connecting = vault._backend._postgres._lock  # type: ignore[attr-defined]
    with connecting, pytest.raises(StoreUnavailable) as error:
        vault.forget("ada")
    assert "still connecting" in f"{error.value.__cause__}"


def bytes_on_disk(dsn: str) -> bytes:
    """The files of the vault's tables."""
    files = """
        SELECT pg_read_binary_file(pg_relation_filepath(oid)) FROM pg_class
        WHERE relname IN ('lg_prod_nodes_vault_keys', 'lg_prod_nodes_vault')"""
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("CHECKPOINT")
        return b"".join(row[0] for row in admin.execute(files))


def test_what_is_forgotten_is_out_of_the_tables_pages_at_once(dsn: str) -> None:
    subjects = [f"subject-{n}" for n in range(20)]
    with Vault(dsn, key=KEY) as vault:
        for subject in subjects:
            vault.load(session := vault.session(subject))
            session.token(EMAIL, f"{subject}@example.org")
            assert vault.keep(session)
        query = """
            SELECT k.wrapped_key, v.value FROM lg_prod_nodes_vault_keys k
            JOIN lg_prod_nodes_vault v ON v.key_id = k.id ORDER BY k.created_at"""
        with psycopg.connect(dsn) as admin:
            rows = admin.execute(query).fetchall()
        before = bytes_on_disk(dsn)
        assert all(part in before for row in rows for part in row)
        assert vault.forget(subjects[3])
        after = bytes_on_disk(dsn)
    assert not any(part in after for part in rows[3])
    assert all(part in after for part in rows[4])


def test_a_vault_whose_pages_cannot_be_cleaned_up_has_forgotten_all_the_same(dsn: str) -> None:
    with Vault(dsn, key=KEY, timeout=0.5) as vault, psycopg.connect(dsn) as other:
        vault.load(vault.session("ada"))
        other.execute("SELECT FROM lg_prod_nodes_vault_keys")
        assert vault.forget("ada")
        assert not vault.forget("ada")
