"""Filters a caller's config: LangGraph persists, streams and traces it, but nodes must get the original values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

from lg_prod_nodes.content.location import OUTSIDE
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.core.call import Call

_PLACES = frozenset({"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "run_id"})
"""Names of identifiers: they must not change, or LangGraph would not find its data."""


_KEPT = "__lg_prod_nodes_kept"


class _Kept:
    """Original values that a config carries to its nodes, unreadable on the way."""

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return "<kept>"


def without_content(config: RunnableConfig, call: Call) -> RunnableConfig:
    """Return the config without content for LangGraph; original values of `configurable` are stored for nodes."""
    change = call.texts.filtered.at((OUTSIDE,))
    settings = {
        name: value
        for name, value in (call.config.get("configurable") or {}).items()
        if isinstance(value, (str, int, dict, list, tuple))
        and name not in _PLACES
        and not name.startswith("__")
        and rewrite({name: value}, change)[name] is not value
    }
    cleaned = cast(dict[str, Any], config.copy())
    for name in ("metadata", "tags", "run_name"):
        if value := cleaned.get(name):
            cleaned[name] = rewrite(value, change)
    if settings:
        kept = {_KEPT: _Kept(settings), **rewrite(settings, change)}
        cleaned["configurable"] = {**cleaned.get("configurable", {}), **kept}
    return cast(RunnableConfig, cleaned)


def with_settings(config: RunnableConfig, kept_in: RunnableConfig) -> RunnableConfig:
    """Return a config with the original values stored in another one."""
    configurable = config.get("configurable", {})
    kept = kept_in.get("configurable", {}).get(_KEPT)
    if not isinstance(kept, _Kept):
        return config
    others = {name: value for name, value in configurable.items() if name != _KEPT}
    return {**config, "configurable": {**others, **kept.values}}
