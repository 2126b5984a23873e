"""The settings of a failed run: found again in its checkpoint, never stored with the failure.

LangGraph stores the plain values of `configurable` in every checkpoint's metadata, as far as policies let it. A failure
holds the names alone, each with a salted digest by which `retry` knows whether a checkpoint's value is that of the run:
a checkpoint may be of another caller, and its value one that was redacted.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from langchain_core.runnables import RunnableConfig

from lg_prod_nodes.core.run import Run

Settings = Mapping[str, str | None]
"""Names of settings with the digests of their values; `None` for a value that no checkpoint holds."""

_OWN = {"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "run_id", "request_id"}
_SECRET = ("key", "token", "secret", "password", "auth")
_LONGEST_NAME = 100


def settings_of(config: RunnableConfig, run: Run) -> Settings:
    """Return the settings of a run, for a failure."""
    given = {
        name: value
        for name, value in (config.get("configurable") or {}).items()
        if name not in _OWN and not name.startswith("__")
    }
    for name, value in (("user_id", run.user_id), ("tenant_id", run.tenant_id)):
        if value is not None and not given.get(
            name
        ):  # from the runtime context, or from the metadata
            given[name] = value
    return {
        run.filtered(name)[:_LONGEST_NAME]: None if _is_secret(name) else _digest(value)
        for name, value in given.items()
    }


def found_again(settings: Settings, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings whose values the metadata of a checkpoint holds."""
    return {
        name: metadata[name]
        for name, digest in settings.items()
        if digest is not None and name in metadata and _digest(metadata[name], digest) == digest
    }


def _is_secret(name: str) -> bool:
    """Whether a value may be a secret; the user's id, which LangGraph Server calls so, is none."""
    is_id = name == "langgraph_auth_user_id"
    return not is_id and any(word in name.casefold() for word in _SECRET)


def _digest(value: Any, salted: str | None = None) -> str | None:
    if not isinstance(value, (str, int, float)):
        return None
    salt = salted.partition(":")[0] if salted else secrets.token_hex(8)
    text = str(value).replace("\0", "").encode(errors="surrogatepass")
    return f"{salt}:{blake2b(text, key=salt.encode(), digest_size=16).hexdigest()}"
