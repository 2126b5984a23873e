"""What a caller configures: LangGraph persists, streams and traces it, and nodes are to have it as it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

from lg_prod_nodes.call import Call
from lg_prod_nodes.content import rewrite

_PLACES = frozenset({"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "run_id"})
"""Names of places: they stay as they are, or nothing would be found again."""


def without_content(config: RunnableConfig, call: Call) -> tuple[RunnableConfig, Mapping[str, Any]]:
    """The config as LangGraph may have it, and the values of `configurable`, inherited ones too, that it may not."""
    settings = {
        name: value
        for name, value in (call.config.get("configurable") or {}).items()
        if isinstance(value, (str, int, dict, list, tuple))
        and name not in _PLACES
        and not name.startswith("__")
        and rewrite({name: value}, call.filtered)[name] is not value
    }
    cleaned = cast(dict[str, Any], config.copy())
    for name in ("metadata", "tags", "run_name"):
        if value := cleaned.get(name):
            cleaned[name] = rewrite(value, call.filtered)
    return with_settings(cast(RunnableConfig, cleaned), rewrite(settings, call.filtered)), settings


def with_settings(config: RunnableConfig, settings: Mapping[str, Any]) -> RunnableConfig:
    """The config with the values that were given."""
    if not settings:
        return config
    return {**config, "configurable": {**config.get("configurable", {}), **settings}}
