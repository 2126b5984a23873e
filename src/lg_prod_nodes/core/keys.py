"""Whom a limit, budget or sum is for: functions of a call that read as English, as in `RateLimit(..., by=by_user)`."""

from __future__ import annotations

from collections.abc import Callable

from lg_prod_nodes.core.call import Call

Key = Callable[[Call], str | None]
"""Names who or what a call counts for; calls for which it gives `None` are counted together."""


def by_user(call: Call) -> str | None:
    """Each user by itself, see `user_of` for where the user is looked for."""
    return call.run.user_id


def by_thread(call: Call) -> str | None:
    """Each conversation by itself."""
    return call.run.thread_id


def by_tenant(call: Call) -> str | None:
    """Each customer by itself: all users of a tenant count together, see `tenant_of`."""
    return call.run.tenant_id


def by_assistant(call: Call) -> str | None:
    """Each assistant of LangGraph Server by itself; elsewhere each graph."""
    return call.run.assistant_id or call.run.graph


def by_node(call: Call) -> str | None:
    """Each node by itself."""
    return call.node


def by_run(call: Call) -> str | None:
    """Each run by itself."""
    return call.run.id


def together(call: Call) -> str | None:
    """All calls as one."""
    return None
