"""The official client of a LangGraph Server, with policies around its requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import httpx
from langgraph.types import RetryPolicy
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient

from lg_prod_nodes.attach.client.exchange import DEFAULT_RETRY
from lg_prod_nodes.attach.client.transport import AsyncGuardedTransport, Guard, GuardedTransport
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.runtime.placement import Stack

_CONNECTS = 5
"""How often the SDK's own transport tries to connect again."""

Timeout = httpx.Timeout | float | tuple[float | None, ...]


def connect(
    url: str,
    policies: Sequence[Policy] = (),
    *,
    retry: RetryPolicy | None = DEFAULT_RETRY,
    headers: Mapping[str, str] | None = None,
    timeout: Timeout | None = None,
    clock: Clock = SYSTEM_CLOCK,
    **api_key: str | None,
) -> LangGraphClient:
    """Return the client of `langgraph-sdk`, with policies around each of its HTTP requests.

    `RateLimit`, `Bulkhead`, `CircuitBreaker`, `Deadline` and `Tracing` act on requests, and a policy of your own whose
    `kinds` have `"request"`. A stream is one request until its end. Refusals are raised as anywhere else.

    Args:
        url: The server's URL.
        policies: The policies, the first one outermost. With `by=by_user` the user is that of the run whose node calls.
        retry: Which failed requests to repeat: only those that are safe to repeat (GET, PUT, DELETE, or with an
            `Idempotency-Key`), and none that the SDK repeats by itself: failed connects, `join` and streams.
            `Retry-After` is obeyed up to `max_interval`. `None` repeats none.
        headers: Headers for each request.
        timeout: The SDK's timeouts of connecting, reading, writing and waiting for a connection.
        clock: The source of time.
        **api_key: `api_key=...` as for `get_client`, which reads it from the environment by default.

    Returns:
        The client.

    Raises:
        ConfigurationError: A policy does not act on requests.

    Example:
        ```python
        async with connect("http://localhost:2024", [RateLimit("10/second"), CircuitBreaker()]) as client:
            threads = await client.threads.search()
        ```
    """
    options: dict[str, Any] = {**api_key, "headers": headers, "timeout": timeout}
    inner = get_client(url=url, **options).http.client
    transport = AsyncGuardedTransport(
        _guard(policies, retry, clock), httpx.AsyncHTTPTransport(retries=_CONNECTS)
    )
    return LangGraphClient(httpx.AsyncClient(transport=transport, **_settings(inner)))


def connect_sync(
    url: str,
    policies: Sequence[Policy] = (),
    *,
    retry: RetryPolicy | None = DEFAULT_RETRY,
    headers: Mapping[str, str] | None = None,
    timeout: Timeout | None = None,
    clock: Clock = SYSTEM_CLOCK,
    **api_key: str | None,
) -> SyncLangGraphClient:
    """Return the synchronous client of `langgraph-sdk`, with policies around its HTTP requests; see `connect`.

    Example:
        ```python
        with connect_sync("http://localhost:2024", [Deadline(30.0)]) as client:
            assistants = client.assistants.search()
        ```
    """
    options: dict[str, Any] = {**api_key, "headers": headers, "timeout": timeout}
    inner = get_sync_client(url=url, **options).http.client
    transport = GuardedTransport(
        _guard(policies, retry, clock), httpx.HTTPTransport(retries=_CONNECTS)
    )
    return SyncLangGraphClient(httpx.Client(transport=transport, **_settings(inner)))


def _settings(client: httpx.Client | httpx.AsyncClient) -> dict[str, Any]:
    return {name: getattr(client, name) for name in ("base_url", "headers", "timeout")}


def _guard(policies: Sequence[Policy], retry: RetryPolicy | None, clock: Clock) -> Guard:
    stack = Stack.at("client", policies, clock)
    for policy, kinds in stack.placed:
        if not kinds:
            name = cast(Any, type(policy)).__name__
            raise ConfigurationError(
                f"{name} does not act on requests; choose among RateLimit, Bulkhead, CircuitBreaker, Deadline and "
                f"Tracing, and give {name} to the graph on the server"
            )
    return Guard(stack, retry)
