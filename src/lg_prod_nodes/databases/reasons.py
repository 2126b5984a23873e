"""Why a server cannot be used, and the cure, in words of our own: those of a driver may quote what they were given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from psycopg import Error
from psycopg.errors import ConnectionTimeout
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from lg_prod_nodes.databases.patience import Unanswered


class Reason(NamedTuple):
    """Why a server cannot be used.

    Attributes:
        found: What is wrong, as the rest of a sentence that begins with the server.
        advice: What to do.
    """

    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.found}; {self.advice}"


_NO_ACCESS = Reason(
    "does not let this user in",
    "correct user and password, or the server's pg_hba.conf",
)
_NO_DATABASE = Reason("has no such database", "create the database, or correct its name")
_FULL = Reason("has no connection left", "raise max_connections, or lower the pools' sizes")
_PREPARED = Reason(
    "lost or mixed up prepared statements, as behind a pooler of connections",
    "use its session mode, or set max_prepared_statements in PgBouncer 1.21 or newer",
)
READ_ONLY = Reason(
    "takes no writes (read-only)",
    "name the primary, or add target_session_attrs=read-write to the DSN",
)
_STARTING = Reason("is starting or stopping", "wait until it runs")
_SILENT = Reason(
    "does not answer in time",
    "see whether it runs, and whether the network lets it through",
)
_NO_SETTING = Reason(
    "is behind a pooler that refuses a startup parameter",
    "leave options= out of the DSN; set them for the role: ALTER ROLE ... SET ...",
)
_UNKNOWN = Reason(
    "does not answer, or not as it should",
    "see whether it runs, and whether the network lets it through",
)
_POOL_CLOSED = Reason(
    "is not connected any more: the pool of connections is closed",
    "use the graph inside of the block of its Production",
)

_BY_TYPE: dict[type[BaseException], Reason] = {
    PoolClosed: _POOL_CLOSED,
    Unanswered: _SILENT,
    ConnectionTimeout: _SILENT,
    TooManyRequests: _FULL,
    PoolTimeout: Reason(
        "gave no connection in time: all of the pool are in use, or the server is silent",
        "raise pool_size, or see whether the server runs",
    ),
}
_BY_STATE = {
    "25006": READ_ONLY,
    "26000": _PREPARED,
    "28000": _NO_ACCESS,
    "28P01": _NO_ACCESS,
    "3D000": _NO_DATABASE,
    "42P01": Reason(
        "lacks a table",
        "let the owner of the schema run: lg-prod-nodes setup --dsn ...",
    ),
    "42P05": _PREPARED,
    "42501": Reason(
        "does not let this user create or use a table",
        "let the owner of the schema run: lg-prod-nodes setup --dsn ... --grant-to USER",
    ),
    "42883": Reason(
        "lacks a function",
        "let the owner of the schema run: lg-prod-nodes setup --dsn ...",
    ),
    "53300": _FULL,
    "55P03": Reason("was busy: a lock was not free in time", "end the transaction that holds it"),
    "57014": Reason("took too long for a statement", "raise its statement_timeout, or its power"),
    "57P01": _STARTING,
    "57P02": _STARTING,
    "57P03": _STARTING,
    "53100": Reason("has no disk space left", "make room on its disk"),
}
_BY_TEXT = {
    r"unsupported startup parameter|command-line options": _NO_SETTING,
    r"read-only": READ_ONLY,
    r"prepared statement": _PREPARED,
    r"database .* does not exist|no such database": _NO_DATABASE,
    r"password|authentication|pg_hba|no encryption|no such user": _NO_ACCESS,
    r"translate host name|resolve host|Name or service": Reason(
        "has an unknown host name",
        "correct the host, or the network's name service",
    ),
    r"refused": Reason("refuses connections", "start the server, or correct host and port"),
    r"too many|remaining connection slots|no more connections": _FULL,
    r"starting up|shutting down": _STARTING,
    r"SSL|certificate": Reason(
        "and this process do not agree on TLS",
        "correct sslmode and sslrootcert in the DSN",
    ),
    r"closed the connection|server_login_retry|terminating connection|connection .* closed": Reason(
        "broke the connection",
        "see whether it was restarted",
    ),
    r"timeout|timed out": _SILENT,
}


def reason_of(error: BaseException) -> Reason:
    """Why a server cannot be used, from the error that a client raised and what led to it."""
    chain = list(_chain(error))
    for link in chain:
        if (state := _state_of(link)) in _BY_STATE:
            return _BY_STATE[state]
    said = " ".join(map(str, chain))
    by_text = next(
        (why for words, why in _BY_TEXT.items() if re.search(words, said, re.IGNORECASE)), None
    )
    by_type = next((why for link in chain if (why := _BY_TYPE.get(type(link)))), None)
    return by_type or by_text or _UNKNOWN


def _state_of(error: BaseException) -> str:
    return (error.sqlstate or "") if isinstance(error, Error) else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
