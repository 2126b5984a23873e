"""What a content policy need not search again: the history that it has kept clean so far.

A policy that guards whole runs cleans all that enters a thread's state: input, updates, what nodes return. So what a
node reads is clean, unless it was written before the policy was there. That is found out once for each thread and node:
after an input in which nothing was found, only what is new is searched, where it enters.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from typing import Any

from langchain_core.messages import BaseMessage

from lg_prod_nodes.call import Call

_REMEMBERED = 65_536


class Trust:
    """The threads and nodes whose state is clean, by keyed digests; for one policy in one process."""

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._clean: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, call: Call, policy: object) -> bool:
        """Whether a call's input is known to be clean."""
        if call.kind != "node" or policy not in call.run.guards:
            return False
        place = self._place(call)
        return place is None or place in self._clean

    def note(self, call: Call, policy: object, cleaned: object) -> None:
        """Remember what a call's input became: that a run is guarded, that a node's was clean before."""
        if call.kind == "run" and not call.config.get("configurable", {}).get("checkpoint_id"):
            call.run.guards.append(policy)  # an earlier checkpoint may be older than the policy
        elif call.kind == "node" and cleaned is call.input and (place := self._place(call)):
            with self._lock:
                self._clean[place] = None
                if len(self._clean) > _REMEMBERED:
                    self._clean.popitem(last=False)

    def _place(self, call: Call) -> bytes | None:
        info = call.runtime.execution_info if call.runtime is not None else None
        if info is None or info.thread_id is None:
            return None
        place = f"{info.thread_id}\0{call.node}".encode(errors="surrogatepass")
        return hashlib.blake2b(place, digest_size=16, key=self._key).digest()


def clean_messages(state: Any) -> dict[int, Any]:
    """The messages of a state that is clean, by identity, with their content: as long as both are the same, it is."""
    values = (
        state.values()
        if isinstance(state, dict)
        else vars(state).values()
        if hasattr(state, "__dict__")
        else ()
    )
    lists = (value for value in values if isinstance(value, list))
    return {
        id(item): item.content for items in lists for item in items if isinstance(item, BaseMessage)
    }
