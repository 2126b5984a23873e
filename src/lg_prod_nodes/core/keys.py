"""Keys to count calls by, as in `RateLimit(..., by=by_user)`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Literal

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.cautions import ClaimedUserWarning
from lg_prod_nodes.core.errors import AnonymousCall

Key = Callable[[Call], str | None]
"""Returns the key that a call counts under, or `None` if it has none, see `Anonymous`."""

Anonymous = Literal["raise", "share"]
"""What to do with calls without a key: `"raise"` an `AnonymousCall` error, or `"share"` one key among them."""


def by_user(call: Call) -> str | None:
    """Count each user separately; `user_of` lists where the user is read from."""
    return call.run.user_id


def by_thread(call: Call) -> str | None:
    """Count each conversation separately."""
    return call.run.thread_id


def by_tenant(call: Call) -> str | None:
    """Count each tenant separately, with all of its users together; see `tenant_of`."""
    return call.run.tenant_id


def by_assistant(call: Call) -> str | None:
    """Count each assistant of LangGraph Server separately; elsewhere each graph."""
    return call.run.assistant_id or call.run.graph


def by_node(call: Call) -> str | None:
    """Count each node separately."""
    return call.node


def by_run(call: Call) -> str | None:
    """Count each run separately."""
    return call.run.id


def together(call: Call) -> str | None:
    """Count all calls together."""
    return None


def key_for(call: Call, by: Key, *, anonymous: Anonymous, policy: str) -> str | None:
    """Return the key that a call counts under, `None` for the shared key.

    Raises:
        AnonymousCall: The call has no key, and `anonymous` is `"raise"`.
    """
    key = by(call)
    if key is None and anonymous == "raise" and by is not together:
        raise AnonymousCall(policy, getattr(by, "__name__", type(by).__name__), _cure(by))
    if call.run.is_claimed and key is not None and by in (by_user, by_tenant):
        _warn_of_claims()
    return key


@cache
def _warn_of_claims() -> None:
    """Warn, once a process, that clients choose the key that they count under."""
    warnings.warn(
        "this LangGraph Server authenticates nobody, so a client names its own user in configurable and passes every "
        "limit by naming another; add authentication to langgraph.json, or count by what a client cannot choose",
        ClaimedUserWarning,
        stacklevel=3,
    )


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
