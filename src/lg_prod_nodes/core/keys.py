"""Whom a limit, budget or sum is for: functions of a call that read as English, as in `RateLimit(..., by=by_user)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.errors import AnonymousCall

Key = Callable[[Call], str | None]
"""Names who or what a call counts for; `None` if it cannot tell, see `Anonymous`."""

Anonymous = Literal["raise", "share"]
"""What happens to calls for which a key function gives `None`: an `AnonymousCall` error, or one key for all of them."""


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


def key_for(call: Call, by: Key, *, anonymous: Anonymous, policy: str) -> str | None:
    """The key that a call counts for, `None` for the one that calls share.

    Raises:
        AnonymousCall: The key function gives `None`, and such calls may not share a key.
    """
    key = by(call)
    if key is None and anonymous == "raise" and by is not together:
        raise AnonymousCall(policy, getattr(by, "__name__", type(by).__name__), _cure(by))
    return key


def _cure(by: Key) -> str:
    if by is by_thread:
        return 'pass config={"configurable": {"thread_id": ...}}'
    if by is by_user or by is by_tenant:
        name = "user_id" if by is by_user else "tenant_id"
        return (
            f'pass config={{"configurable": {{"{name}": ...}}}} (looked for in the user that LangGraph Server '
            f'authenticated, configurable["{name}"], {name} of the runtime context, metadata["{name}"])'
        )
    return "make it give a text"
