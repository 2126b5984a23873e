"""Tracks which history a content policy has already cleaned and need not search again.

A policy that guards whole runs cleans everything that enters a thread's state: input, updates, and node results. So the
input of a node is clean, unless it was written before the policy was added. This is determined once per thread and
node: after an input without findings, only new content is searched, where it enters.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from typing import Any

from langchain_core.messages import BaseMessage

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.run import node_path

_REMEMBERED = 65_536


class Trust:
    """The threads and nodes with clean state, stored as keyed digests; for one policy in one process."""

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._clean: OrderedDict[bytes, set[str]] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, call: Call, policy: object) -> bool:
        """Return whether a call's input is known to be clean."""
        if call.kind != "node" or not _is_guarded(call, policy):
            return False
        thread = self._thread(call, _thread_of(call))
        return thread is None or call.node in self._clean.get(thread, ())

    def note(self, call: Call, policy: object, cleaned: object) -> None:
        """Record the outcome for a call's input: a run is guarded, or a node's input was already clean."""
        if call.kind == "node":
            if (
                cleaned is call.input
                and call.node
                and (thread := self._thread(call, _thread_of(call)))
            ):
                self._remember(thread, call.node)
        elif call.config.get("configurable", {}).get("checkpoint_id"):
            self._forget(call)  # an earlier checkpoint may predate the policy
        elif call.kind == "run":
            guard = (policy, node_path(call.config.get("metadata") or {}) or "")
            if guard not in call.run.content.guards:
                call.run.content.guards.append(guard)

    def _remember(self, thread: bytes, node: str) -> None:
        with self._lock:
            self._clean.setdefault(thread, set()).add(node)
            if len(self._clean) > _REMEMBERED:
                self._clean.popitem(last=False)

    def _forget(self, call: Call) -> None:
        thread = self._thread(call, call.config.get("configurable", {}).get("thread_id"))
        with self._lock:
            self._clean.pop(thread or b"", None)

    def _thread(self, call: Call, thread: Any) -> bytes | None:
        if thread is None:
            return None
        name = f"{call.run.content.saver}:{thread}".encode(errors="surrogatepass")
        return hashlib.blake2b(name, digest_size=16, key=self._key).digest()


def _thread_of(call: Call) -> str | None:
    info = call.runtime.execution_info if call.runtime is not None else None
    return info.thread_id if info is not None else None


def _is_guarded(call: Call, policy: object) -> bool:
    """Return whether everything that enters the state of a node's graph, or of an enclosing one, passes the policy."""
    node = call.node or ""
    for guard, path in call.run.content.guards:
        is_around = not path or node.startswith(f"{path}/")
        if is_around and (guard is policy or guard == policy):
            return True
    return False


def clean_messages(state: Any) -> dict[int, Any]:
    """Return the messages of a clean state by identity, with their content: clean while both are unchanged."""
    values = (
        state.values()
        if isinstance(state, dict)
        else vars(state).values()
        if hasattr(state, "__dict__")
        else ()
    )
    lists = (value for value in values if isinstance(value, list))
    return {
        id(item): item.content
        for items in lists
        for item in items
        if isinstance(item, BaseMessage) and isinstance(item.content, str)
    }
