"""A LangGraph store whose values pass through the node's policies before they are put."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import wrapt
from langgraph.store.base import BaseStore, Op, PutOp

from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.filters import Filters


class FilteredStore(wrapt.ObjectProxy[BaseStore]):
    """The node's store, except that values are rewritten before they are put.

    A namespace or key that a policy may have given to several values is refused: what one user stored would reach
    another.

    Args:
        store: The store.
        change: Rewrites a text.
    """

    def __init__(self, store: BaseStore, change: Filters) -> None:
        super().__init__(store)
        self._self_change = change

    def get(self, namespace: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
        """Get an item."""
        self._check(namespace, key)
        return self.__wrapped__.get(namespace, key, *args, **kwargs)

    async def aget(self, namespace: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
        """Get an item."""
        self._check(namespace, key)
        return await self.__wrapped__.aget(namespace, key, *args, **kwargs)

    def search(self, namespace: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Search for items."""
        self._check(namespace)
        return self.__wrapped__.search(namespace, *args, **kwargs)

    async def asearch(self, namespace: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Search for items."""
        self._check(namespace)
        return await self.__wrapped__.asearch(namespace, *args, **kwargs)

    def put(self, namespace: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        """Put a rewritten value."""
        self._check(namespace, key)
        self.__wrapped__.put(namespace, key, self._rewritten(value), *args, **kwargs)

    async def aput(self, namespace: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        """Put a rewritten value."""
        self._check(namespace, key)
        await self.__wrapped__.aput(namespace, key, self._rewritten(value), *args, **kwargs)

    def delete(self, namespace: Any, key: Any) -> None:
        """Delete an item."""
        self._check(namespace, key)
        self.__wrapped__.delete(namespace, key)

    async def adelete(self, namespace: Any, key: Any) -> None:
        """Delete an item."""
        self._check(namespace, key)
        await self.__wrapped__.adelete(namespace, key)

    def batch(self, ops: Iterable[Op]) -> Any:
        """Run several operations; values to put are rewritten."""
        return self.__wrapped__.batch([self._filtered(op) for op in ops])

    async def abatch(self, ops: Iterable[Op]) -> Any:
        """Run several operations; values to put are rewritten."""
        return await self.__wrapped__.abatch([self._filtered(op) for op in ops])

    def _check(self, namespace: Any, *key: Any) -> None:
        """Raise a `ConfigurationError` for a namespace or key that may stand for several values."""
        for name in (*namespace, *key):
            if isinstance(name, str) and (what := self._self_change.shared(name)):
                raise ConfigurationError(
                    f"a store's namespace or key was made of a stand-in for {what}, which several users would share; "
                    "make it of an id, or give this value the strategy 'hash' or 'tokenize'"
                )

    def _rewritten(self, value: Any) -> Any:
        return rewrite(value, self._self_change)

    def _filtered(self, op: Op) -> Op:
        namespace = getattr(op, "namespace", None) or getattr(op, "namespace_prefix", ())
        self._check(namespace, getattr(op, "key", None))
        if not isinstance(op, PutOp) or op.value is None:
            return op
        return op._replace(value=self._rewritten(op.value))
