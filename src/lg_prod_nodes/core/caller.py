"""The user and tenant of a run, from the server, the config or the runtime context."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime


def user_of(
    config: RunnableConfig, *, runtime: Runtime[Any] | None = None, context: Any = None
) -> str | None:
    """Return the user's id.

    The user authenticated by LangGraph Server comes first, since a client could claim to be anyone. Next come
    `configurable["user_id"]`, `user_id` in the runtime context, and `metadata["user_id"]`.
    """
    configurable = config.get("configurable", {})
    authenticated = _authenticated(config, runtime)
    candidates = (
        getattr(authenticated, "identity", None),
        configurable.get("langgraph_auth_user_id"),
        *_named("user_id", config, runtime, context),
    )
    return _first_text(candidates)


def tenant_of(
    config: RunnableConfig, *, runtime: Runtime[Any] | None = None, context: Any = None
) -> str | None:
    """Return the tenant's id: `tenant_id` of the authenticated user, else from the same sources as `user_of`."""
    authenticated = _authenticated(config, runtime)
    if authenticated is not None:
        return text_or_none(_member(authenticated, "tenant_id"))
    return _first_text(_named("tenant_id", config, runtime, context))


def _authenticated(config: RunnableConfig, runtime: Runtime[Any] | None) -> Any:
    """Return the user authenticated by LangGraph Server."""
    server = runtime.server_info if runtime is not None else None
    return server.user if server else config.get("configurable", {}).get("langgraph_auth_user")


def _named(
    name: str, config: RunnableConfig, runtime: Runtime[Any] | None, context: Any
) -> tuple[Any, ...]:
    """Return what the caller states under a name: in `configurable`, the runtime context and `metadata`."""
    context = runtime.context if runtime is not None and context is None else context
    return (
        config.get("configurable", {}).get(name),
        _member(context, name),
        (config.get("metadata") or {}).get(name),
    )


def _member(value: Any, name: str) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return value.get(name)
    with suppress(KeyError):  # users of LangGraph Server look up attributes in a mapping
        return getattr(value, name, None)
    return None


def _first_text(candidates: Iterable[Any]) -> str | None:
    for candidate in candidates:
        if candidate is not None and (text := str(candidate)):
            return text
    return None


def text_or_none(value: object) -> str | None:
    """Return a value as a string, or `None` for `None`."""
    return None if value is None else str(value)
