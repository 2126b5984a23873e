"""Checks that users' policies keep the contract: what they return and what they await."""

from __future__ import annotations

from typing import Any

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.engine import Wrap, foreign_await
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy

_PACKAGE = __name__.partition(".")[0]
_NO_LOOP = "no running event loop"


def wrap_of(policy: Policy) -> Wrap:
    """A policy's `wrap`, checked against the contract unless the method is one of this library's."""
    module: str = type(policy).wrap.__module__
    return policy.wrap if module.partition(".")[0] == _PACKAGE else _checked(policy)


def _checked(policy: Policy) -> Wrap:
    name = type(policy).__name__

    async def wrap(call: Call, handler: Handler) -> Any:
        given: Any = None
        raised: list[BaseException] = []

        async def noted(inner: Call) -> Any:
            nonlocal given
            try:
                given = await handler(inner)
            except BaseException as error:
                raised.append(error)
                raise
            return given

        try:
            result = await policy.wrap(call, noted)
        except RuntimeError as error:
            if call.blocking and error not in raised and str(error) == _NO_LOOP:
                raise foreign_await("something that needs an event loop", name) from error
            raise
        if result is None and given is not None:
            raise ConfigurationError(
                f"{name}.wrap returned nothing, although the call gave a result; end it with "
                "`return await handler(call)`, or return what stands in for the result"
            )
        return result

    return wrap
