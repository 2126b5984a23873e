"""DSNs of Postgres: which database one names, and what is wrong with one that cannot be used."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import Secret, revealed, scheme_of

_SCHEMES = ("postgresql", "postgres")
_FORM = "postgresql://user:password@host:5432/database"
_SCHEMA = "write options=-csearch_path%3DNAME"
_NO_POOLER = "leave it out: a pooler is recognized"
_POOL = "give Production(pool_size=...)"
_FOREIGN = {
    "schema": _SCHEMA,
    "currentschema": _SCHEMA,
    "search_path": _SCHEMA,
    "pgbouncer": _NO_POOLER,
    "prepare_threshold": _NO_POOLER,
    "prepared_statements": _NO_POOLER,
    "prepared_statement_cache_size": _NO_POOLER,
    "statement_cache_size": _NO_POOLER,
    "connection_limit": _POOL,
    "max_overflow": _POOL,
    "pool_size": _POOL,
    "pool_timeout": "write connect_timeout=SECONDS",
    "socket_timeout": "write options=-cstatement_timeout%3D30s",
    "statement_timeout": "write options=-cstatement_timeout%3D30s",
    "sslaccept": "write sslmode=verify-full",
    "charset": "write client_encoding=utf8",
    "applicationname": "write application_name=NAME",
}
"""Parameters of other drivers, and what to do instead."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}")
_SEARCH_PATH = re.compile(r"search_path\s*=\s*(\S+)", re.IGNORECASE)


def host_of(dsn: Secret) -> str:
    """The host of a database, which errors name.

    Raises:
        ConfigurationError: The DSN cannot be read; says why, and shows no password.
    """
    if not _is_plain(revealed(dsn)):
        raise ConfigurationError(_complaint(revealed(dsn), scheme_of(dsn)))
    return str(conninfo_to_dict(revealed(dsn)).get("host", "the local socket"))


def database_of(dsn: Secret) -> str:
    """What distinguishes a database from others: where it is and its name, without a password.

    Raises:
        ConfigurationError: The DSN cannot be read.
    """
    host_of(dsn)
    parts = conninfo_to_dict(revealed(dsn))
    parts.setdefault("dbname", parts.get("user", ""))  # as libpq does
    return " ".join(f"{name}={parts.get(name, '')}" for name in ("host", "port", "dbname"))


def schema_of(dsn: Secret) -> str:
    """The `search_path` that a DSN sets, or the variable `PGOPTIONS`; empty where neither does."""
    options = conninfo_to_dict(revealed(dsn)).get("options", os.environ.get("PGOPTIONS", ""))
    found = _SEARCH_PATH.search(str(options))
    return found[1] if found else ""


def _is_plain(dsn: str) -> bool:
    """Whether a DSN is read as meant: a bare `@` or `/` makes a part of the password a host, port or database."""
    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:  # whose text quotes the DSN
        return False
    host, port = str(parts.get("host", "")), str(parts.get("port", ""))
    database = "" if "user" in parts else str(parts.get("dbname", ""))
    return "@" not in host[1:] + database and all(
        number.isdecimal() for number in port.split(",") if number
    )


def _complaint(dsn: str, scheme: str) -> str:
    if scheme and scheme not in _SCHEMES and _NAME.fullmatch(scheme.replace("+", "_")):
        driver = " (the +driver is SQLAlchemy's)" if "+" in scheme else ""
        return f"the Postgres DSN begins with {scheme}://; write {_FORM}{driver}"
    if foreign := "; ".join(_foreign(dsn, scheme)):
        return f"the Postgres DSN has parameters that libpq does not know: {foreign}"
    return (
        f"the Postgres DSN cannot be read; write {_FORM}, "
        "with special characters of the password percent-encoded"
    )


def _foreign(dsn: str, scheme: str) -> Iterator[str]:
    """The parameters that libpq does not know, as far as they cannot be a part of a secret."""
    if not scheme:
        names = re.findall(r"(?:^|\s)([A-Za-z_]+)\s*=", dsn)
        yield from (f"{name}: {_FOREIGN[name.lower()]}" for name in names if name in _FOREIGN)
        return
    address, query = _apart(dsn)
    if not _is_plain(address):
        return
    may_show = True
    for at, pair in enumerate(query.split("&"), 1):
        name = pair.partition("=")[0]
        may_show = may_show and "password" not in name.lower()
        if name.lower() in _FOREIGN:
            yield f"{name}: {_FOREIGN[name.lower()]}"
        elif name not in _known():
            shown = name if may_show and _NAME.fullmatch(name) else f"number {at}"
            yield f"{shown}: leave it out, or correct its name"


def _apart(dsn: str) -> tuple[str, str]:
    """A URL without its parameters, and these; a user and password end at the last `@` before a `/`."""
    scheme, _, rest = dsn.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    address, _, query = f"{host}{slash}{path}".partition("?")
    return f"{scheme}://{user}{at}{address}", query


@cache
def _known() -> frozenset[str]:
    return frozenset(option.keyword.decode() for option in Conninfo.get_defaults())
