"""A store's namespace or key that a policy may have given to several users is refused."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.runtime import Runtime
from langgraph.store.base import GetOp, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore
from presidio_analyzer import Pattern, PatternRecognizer
from tests.policies.conftest import Runner, one

from lg_prod_nodes import ConfigurationError, ContentFilter, Redact, harden
from lg_prod_nodes.stores.vault.store import Vault

PHONE = "+14155552671"
KEY = b"k" * 32
ORDER = PatternRecognizer("ORDER", patterns=[Pattern("order", r"\bA-\d{4}\b", score=0.9)])


def remembering(store: Any, policy: Any, way: Any) -> Any:
    def remember(state: Any, runtime: Runtime[Any]) -> Any:
        way(runtime.store, ("users", state["text"]))

    return harden(one(remember), [policy]).compile(store=store)


WAYS: dict[str, Any] = {
    "put": lambda store, ns: store.put(ns, "1", {"a": 1}),
    "put, as key": lambda store, ns: store.put(("users",), ns[-1], {"a": 1}),
    "get": lambda store, ns: store.get(ns, "1"),
    "search": lambda store, ns: store.search(ns),
    "delete": lambda store, ns: store.delete(ns, "1"),
    "batch": lambda store, ns: store.batch([PutOp(ns, "1", {"a": 1})]),
    "batch of gets": lambda store, ns: store.batch([GetOp(ns, "1")]),
    "batch of searches": lambda store, ns: store.batch([SearchOp(ns)]),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_name_that_several_values_share_is_refused(run: Runner, way: str) -> None:
    graph = remembering(InMemoryStore(), Redact(), WAYS[way])
    with pytest.raises(ConfigurationError, match="stand-in for PHONE_NUMBER, which several users"):
        await run(graph, {"text": PHONE})


async def test_asynchronous_ways_are_refused_too() -> None:
    async def remember(state: Any, runtime: Runtime[Any]) -> Any:
        store: Any = runtime.store
        namespace = ("users", state["text"])
        for way in (
            store.aput(namespace, "1", {"a": 1}),
            store.aget(namespace, "1"),
            store.asearch(namespace),
            store.adelete(namespace, "1"),
            store.abatch([GetOp(namespace, "1")]),
        ):
            with pytest.raises(ConfigurationError, match="several users would share"):
                await way
        return {"log": ["done"]}

    graph = harden(one(remember), [Redact()]).compile(store=InMemoryStore())
    assert (await graph.ainvoke({"text": PHONE}))["log"] == ["done"]


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Redact(strategy="mask"), PHONE),
        (Redact(strategy="surrogate", key=KEY), PHONE),
        (Redact(recognizers=[ORDER]), "A-1234"),
    ],
)
def test_masks_numbers_from_a_small_range_and_own_entities_are_shared(
    policy: Redact, text: str
) -> None:
    with pytest.raises(ConfigurationError, match="several users would share"):
        remembering(InMemoryStore(), policy, WAYS["put"]).invoke({"text": text})


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Redact(strategy="hash", key=KEY), PHONE),
        (Redact(strategy="tokenize", vault=Vault(key=KEY)), PHONE),
        (Redact(strategy="surrogate", key=KEY), "4111 1111 1111 1111"),
        (Redact(), "[FAQ] ****"),
        (ContentFilter(["bomb"]), "[PHONE_NUMBER]"),
    ],
)
def test_a_name_of_one_value_is_fine(policy: Any, text: str) -> None:
    store = InMemoryStore()
    remembering(store, policy, WAYS["put"]).invoke({"text": text})
    ((_, name),) = store.list_namespaces()
    assert name not in (PHONE, "4111 1111 1111 1111")
