from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lg_prod_nodes import Ledger, Usage
from lg_prod_nodes.ledger import Entry
from lg_prod_nodes.prices import list_price

ENTRY = Entry(
    id="call-1",
    run="run-1",
    thread="thread-1",
    user="ada",
    graph="desk",
    node="agent",
    model="gpt-4o-mini",
    usage=Usage.of({"input_tokens": 3, "output_tokens": 4}),
)


def cents(model: str, usage: Usage) -> Decimal | None:
    return Decimal(usage.total_tokens) / 100 if model == "gpt-4o-mini" else None


def test_a_call_is_noted_once() -> None:
    ledger = Ledger()

    ledger.add(ENTRY)
    ledger.add(replace(ENTRY, user="bob"))

    assert ledger.entries() == (ENTRY,)


@pytest.mark.parametrize("by", ["user", "node", "run", "thread", "model", "graph"])
def test_sums_by(by: Any) -> None:
    ledger = Ledger()
    for at, value in enumerate(["a", "b", "b", None]):
        ledger.add(replace(ENTRY, id=str(at), **{by: value}))

    total = ledger.total(by=by)

    assert total == {"b": ENTRY.usage + ENTRY.usage, "a": ENTRY.usage, None: ENTRY.usage}
    assert next(iter(total)) == "b"


def test_calls_have_their_price_where_it_is_known() -> None:
    ledger = Ledger(price=cents)

    assert ledger.add(ENTRY) == Decimal("0.07")
    assert ledger.add(replace(ENTRY, id="call-2", model="of-our-own")) is None

    total = ledger.total(by="graph")["desk"]
    assert (total.cost, total.unpriced_calls, total.calls) == (Decimal("0.07"), 1, 2)


def test_a_price_of_nothing_is_a_price() -> None:
    ledger = Ledger(price=lambda model, usage: Decimal(0))
    ledger.add(ENTRY)

    assert ledger.total(by="user")["ada"].unpriced_calls == 0


def test_the_oldest_are_forgotten() -> None:
    ledger = Ledger(max_entries=2)
    for name in ("a", "b", "c", "b"):
        ledger.add(replace(ENTRY, id=name))

    assert [entry.id for entry in ledger.entries()] == ["b", "c"]
    ledger.add(replace(ENTRY, id="a"))
    assert [entry.id for entry in ledger.entries()] == ["c", "a"]


def test_many_threads_note_each_call_once() -> None:
    ledger = Ledger(max_entries=100)
    names = [str(number) for number in range(100)] * 4

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: ledger.add(replace(ENTRY, id=name)), names))

    assert ledger.total(by="user")["ada"].calls == 100


usages = st.builds(
    Usage,
    *[st.integers(0, 10**6)] * 5,
    cost=st.decimals(0, 100, places=4),
    unpriced_calls=st.integers(0, 9),
)


@given(usages, usages, usages)
def test_usages_add_up_in_any_order(a: Usage, b: Usage, c: Usage) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Usage() == a
    assert (a + b).total_tokens == a.total_tokens + b.total_tokens


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"input_tokens": 5, "output_tokens": 7}, {"input_tokens": 5, "output_tokens": 7}),
        ({"input_token_details": None, "output_token_details": {}}, {}),
        ({"input_token_details": {"cache_read": None, "audio": 1}}, {}),
        (
            {"input_token_details": {"cache_read": 2}, "output_token_details": {"reasoning": 3}},
            {"cache_read_tokens": 2, "reasoning_tokens": 3},
        ),
    ],
)
def test_reads_what_providers_report(metadata: Any, expected: dict[str, int]) -> None:
    assert Usage.of(metadata) == Usage(calls=1, unpriced_calls=1, **expected)


@pytest.mark.parametrize("metadata", [{"input_tokens": None}, {"output_tokens": None}])
def test_reads_none_as_no_tokens(metadata: Any) -> None:
    assert Usage.of(metadata).total_tokens == 0


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "claude-3-5-haiku-latest"]
)
def test_list_prices_are_those_of_the_provider(model: str) -> None:
    usage = Usage(calls=1, input_tokens=1_000_000, output_tokens=1_000_000)

    price = list_price(model, usage)

    assert price is not None
    assert 0 < price < 10


def test_tokens_from_the_cache_are_cheaper() -> None:
    fresh = Usage(calls=1, input_tokens=1000)

    assert (
        0
        < list_price("gpt-4o-mini", replace(fresh, cache_read_tokens=1000))
        < list_price("gpt-4o-mini", fresh)
    )


def test_a_model_that_no_list_has_has_no_price() -> None:
    assert list_price("of-our-own", Usage(calls=1, input_tokens=1000)) is None
    assert list_price("", Usage(calls=1)) is None


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o-mini", "anthropic.claude-3-5-haiku-20241022-v1:0"]
)
def test_a_model_may_be_named_as_gateways_name_it(model: str) -> None:
    assert list_price(model, Usage(calls=1, input_tokens=1000)) is not None
