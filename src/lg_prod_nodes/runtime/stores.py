"""A LangGraph store whose values pass through the node's policies before they are put."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import wrapt
from langgraph.store.base import BaseStore, Op, PutOp

from lg_prod_nodes.content.walk import rewrite

Change = Callable[[str], str]


class FilteredStore(wrapt.ObjectProxy[BaseStore]):
    """The node's store, except that values are rewritten before they are put.

    Args:
        store: The store.
        change: Rewrites a text.
    """

    def __init__(self, store: BaseStore, change: Change) -> None:
        super().__init__(store)
        self._self_change = change

    def put(self, namespace: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        """Put a rewritten value."""
        self.__wrapped__.put(namespace, key, self._rewritten(value), *args, **kwargs)

    async def aput(self, namespace: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        """Put a rewritten value."""
        await self.__wrapped__.aput(namespace, key, self._rewritten(value), *args, **kwargs)

    def batch(self, ops: Iterable[Op]) -> Any:
        """Run several operations; values to put are rewritten."""
        return self.__wrapped__.batch(map(self._filtered, ops))

    async def abatch(self, ops: Iterable[Op]) -> Any:
        """Run several operations; values to put are rewritten."""
        return await self.__wrapped__.abatch([self._filtered(op) for op in ops])

    def _rewritten(self, value: Any) -> Any:
        return rewrite(value, self._self_change)

    def _filtered(self, op: Op) -> Op:
        if not isinstance(op, PutOp) or op.value is None:
            return op
        return op._replace(value=self._rewritten(op.value))
