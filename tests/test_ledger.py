"""A ledger in memory and one in Postgres: one contract."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lg_prod_nodes import Call, ConfigurationError, CostBudget, Ledger, Run, Usage, list_price
from lg_prod_nodes.ledger import Entry, ModelPrice, price_table

NOW = datetime.now(UTC)
ENTRY = Entry(
    id="call-1",
    run="run-1",
    thread="thread-1",
    user="ada",
    graph="desk",
    node="agent",
    model="gpt-4o-mini",
    at=NOW,
    task="thread-1:task-1",
    execution="first",
    usage=Usage.of({"input_tokens": 3, "output_tokens": 4}),
)
SEVEN = ENTRY.usage

Make = Callable[..., Ledger]


def cents(model: str, usage: Usage) -> Decimal | None:
    return Decimal(usage.total_tokens) / 100 if model == "gpt-4o-mini" else None


@pytest.fixture(params=["memory", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes a ledger, in memory or in Postgres."""
    ledgers: list[Ledger] = []
    where = {}
    if request.param == "postgres":
        where = {"postgres": request.getfixturevalue("dsn"), "journal": tmp_path}

    def make(**options: Any) -> Ledger:
        ledgers.append(Ledger(**where, **{"price": {}, **options}))
        return ledgers[-1]

    yield make
    for ledger in ledgers:
        ledger.close()


@pytest.fixture
def ledger(make: Make) -> Ledger:
    return make()


def only(ledger: Ledger) -> Any:
    (row,) = ledger.usage()
    return row


def test_a_call_is_noted_once(ledger: Ledger) -> None:
    ledger.add(ENTRY)
    ledger.add(replace(ENTRY, user="bob"))

    assert ledger.entries() == (ENTRY,)
    ledger.add(replace(ENTRY, user="bob"))
    assert ledger.entries() == (ENTRY,)


def test_all_of_a_usage_is_stored(make: Make) -> None:
    ledger = make(price=cents)
    usage = Usage(1, 10, 20, 3, 4, 5, estimated_calls=1, unpriced_calls=1)
    names = {"tenant": "acme", "assistant": "helper", "user": None}

    ledger.add(replace(ENTRY, usage=usage, **names))

    told = replace(usage, cost=Decimal("0.30"), unpriced_calls=0)
    assert ledger.entries() == (replace(ENTRY, usage=told, **names),)


@pytest.mark.parametrize(
    "by", ["user", "tenant", "assistant", "node", "run", "thread", "model", "graph"]
)
def test_sums_by_each_dimension(ledger: Ledger, by: Any) -> None:
    nobody = None if by not in ("run", "model", "graph") else ""
    for at, value in enumerate(["a", "b", "b", nobody]):
        ledger.add(replace(ENTRY, id=str(at), **{by: value}))

    total = ledger.total(by=by)

    assert total == {"b": SEVEN + SEVEN, "a": SEVEN, nobody: SEVEN}
    assert next(iter(total)) == "b"


def test_sums_by_several_dimensions(ledger: Ledger) -> None:
    for at, (user, model) in enumerate([("ada", "m"), ("ada", "n"), ("bob", "m"), ("ada", "m")]):
        ledger.add(replace(ENTRY, id=str(at), user=user, model=model))

    rows = ledger.usage(by=("user", "model"))

    assert [(row.key, row.spent.calls) for row in rows] == [
        (("ada", "m"), 2),
        (("ada", "n"), 1),
        (("bob", "m"), 1),
    ]


def test_an_empty_ledger_has_one_sum_of_nothing(ledger: Ledger) -> None:
    assert only(ledger).spent == Usage()
    assert ledger.usage(by="user") == []


def test_calls_of_a_time_are_summed(ledger: Ledger) -> None:
    for days in range(5):
        ledger.add(replace(ENTRY, id=str(days), at=NOW - timedelta(days=days)))

    def calls(**options: Any) -> int:
        return sum(row.spent.calls for row in ledger.usage(**options))

    assert calls(since=NOW - timedelta(days=2)) == 3
    assert calls(since=timedelta(days=2, hours=1)) == 3
    assert calls(until=NOW - timedelta(days=2)) == 2
    assert calls(since=NOW - timedelta(days=3), until=NOW) == 3


def test_calls_of_chosen_values_are_summed(ledger: Ledger) -> None:
    for at, user in enumerate(["ada", "bob", None, "ada"]):
        ledger.add(replace(ENTRY, id=str(at), user=user))

    def calls(user: Any) -> int:
        return sum(row.spent.calls for row in ledger.usage(where={"user": user}))

    assert [calls(user) for user in ("ada", None, ["bob", None], [], "eve")] == [2, 1, 2, 0, 0]


def test_what_counts_is_the_latest_kept_execution_of_a_task(ledger: Ledger) -> None:
    for execution in ("first", "second", "third"):
        ledger.add(replace(ENTRY, id=execution, execution=execution))
    assert only(ledger).effective == Usage()

    ledger.keep("thread-1:task-1", "first", NOW)
    assert only(ledger).effective == SEVEN
    ledger.keep("thread-1:task-1", "third", NOW + timedelta(seconds=1))

    assert only(ledger).effective == SEVEN
    assert only(ledger).spent == SEVEN + SEVEN + SEVEN


def test_each_task_counts_by_itself(ledger: Ledger) -> None:
    for task in ("a", "b", "c"):
        ledger.add(replace(ENTRY, id=task, task=task))
        ledger.keep(task, "first", NOW)

    assert only(ledger).effective.calls == 3


@pytest.mark.parametrize(
    ("made_in", "kept", "counts"),
    [
        ("a:1", None, True),
        ("a:1", "a:1", True),
        ("a:1", "b:1", True),
        ("a:1", "a:2", False),
        ("a:2", None, False),
        ("a:2", "a:2", True),
        ("a:2", "a:3", False),
        ("a:2", "b:1", False),
        ("a:2", "b:2", True),
    ],
)
@pytest.mark.parametrize("around", [0, 1])
def test_what_a_retry_of_the_graph_around_began_anew_does_not_count(
    ledger: Ledger, made_in: str, kept: str | None, counts: bool, around: int
) -> None:
    within = [("sound", "x:1"), ("sounder", "x:1")]
    within[around] = ("outer", made_in)
    ledger.add(replace(ENTRY, within=tuple(within)))
    ledger.keep("thread-1:task-1", "first", NOW)
    if kept is not None:
        ledger.keep("outer", kept, NOW)

    assert only(ledger).effective == (SEVEN if counts else Usage())
    assert ledger.entries()[0].within == tuple(within)


def test_every_call_counts_if_it_is_unknown_which_one_is_kept(ledger: Ledger) -> None:
    ledger.add(replace(ENTRY, execution=None))
    ledger.add(replace(ENTRY, id="2", execution=None, task=None))

    assert only(ledger).effective == SEVEN + SEVEN


def test_a_call_that_began_is_in_doubt_until_it_ends(ledger: Ledger) -> None:
    estimate = Usage(calls=1, input_tokens=2, unpriced_calls=1, estimated_calls=1)
    ledger.begin(replace(ENTRY, usage=estimate))

    assert (only(ledger).spent, only(ledger).in_doubt) == (Usage(), estimate)
    (entry,) = ledger.entries(in_doubt=True)
    assert (entry.id, entry.state) == ("call-1", "in_doubt")

    ledger.add(ENTRY)
    assert (only(ledger).spent, only(ledger).in_doubt) == (SEVEN, Usage())
    assert ledger.entries(in_doubt=True) == ()
    ledger.begin(replace(ENTRY, usage=estimate))
    assert only(ledger).in_doubt == Usage()


def test_calls_in_doubt_are_settled_by_what_the_provider_billed(make: Make) -> None:
    ledger = make(price=cents)
    billed = Usage.of({"input_tokens": 30, "output_tokens": 40})
    ledger.add(ENTRY)
    for id in ("seen", "unseen"):
        ledger.begin(replace(ENTRY, id=id))
    ledger.keep("thread-1:task-1", "first", NOW)

    settled = ledger.reconcile({"seen": billed}.get, older_than=timedelta(0))

    assert settled == 2
    assert only(ledger).in_doubt == Usage()
    assert only(ledger).spent.total_tokens == only(ledger).effective.total_tokens == 77
    assert (only(ledger).spent.calls, only(ledger).spent.cost) == (2, Decimal("0.77"))
    assert ledger.reconcile({}.get, older_than=timedelta(0)) == 0


def test_what_a_call_tells_itself_wins_over_what_was_settled(ledger: Ledger) -> None:
    ledger.begin(ENTRY)
    ledger.reconcile(lambda _: None, older_than=timedelta(0))
    assert only(ledger).spent == Usage()

    ledger.add(ENTRY)

    assert only(ledger).spent == SEVEN


def test_a_call_that_may_go_on_is_not_settled(ledger: Ledger) -> None:
    ledger.begin(replace(ENTRY, at=datetime.now(UTC)))

    assert ledger.reconcile(lambda _: None) == 0
    assert ledger.reconcile(lambda _: None, older_than=timedelta(0)) == 1


def test_what_is_too_old_is_not_counted(make: Make) -> None:
    ledger = make(retention=timedelta(days=7))
    for days in (1, 6, 8):
        ledger.add(replace(ENTRY, id=str(days), at=NOW - timedelta(days=days)))

    assert only(ledger).spent.calls == len(ledger.entries()) == 2
    (row,) = ledger.usage(since=timedelta(days=30))
    assert row.spent.calls == 2


def test_calls_have_their_price_where_it_is_known(make: Make) -> None:
    ledger = make(price=cents)

    assert ledger.add(ENTRY) == Decimal("0.07")
    assert ledger.add(replace(ENTRY, id="call-2", model="of-our-own")) is None

    spent = only(ledger).spent
    assert (spent.cost, spent.unpriced_calls, spent.calls) == (Decimal("0.07"), 1, 2)


def test_a_price_of_nothing_is_a_price(make: Make) -> None:
    ledger = make(price=lambda model, usage: Decimal(0))
    ledger.add(ENTRY)

    assert only(ledger).spent.unpriced_calls == 0


def test_a_call_whose_price_cannot_be_found_is_noted(make: Make) -> None:
    def broken(model: str, usage: Usage) -> Decimal:
        raise LookupError

    ledger = make(price=broken)
    with pytest.raises(LookupError):
        ledger.add(ENTRY)

    assert only(ledger).spent == SEVEN


def test_prices_may_be_a_table(make: Make) -> None:
    prices = {"gpt-4o-mini": ModelPrice(input=1, output=2.5, cache_read=Decimal("0.1"))}
    ledger = make(price=prices)
    usage = Usage(calls=1, input_tokens=1_000_000, output_tokens=100_000, cache_read_tokens=500_000)

    assert ledger.add(replace(ENTRY, usage=usage)) == Decimal("0.8")
    assert ledger.add(replace(ENTRY, id="2", model="of-our-own")) is None


WRITTEN = Usage(calls=1, input_tokens=10_000, cache_write_tokens=10_000)
SENT = Usage(calls=1, input_tokens=10_000, output_tokens=1000, cache_read_tokens=1000)


@pytest.mark.parametrize(
    ("model", "usage", "dollars"),
    [
        ("claude-sonnet-4-5-20250929", WRITTEN, "0.0375"),
        ("claude-sonnet-4-5-20250929", replace(WRITTEN, cache_write_1h_tokens=10_000), "0.06"),
        (
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            replace(WRITTEN, cache_write_1h_tokens=10_000),
            "0.066",
        ),
        ("gpt-5", SENT, "0.021375"),
        ("gpt-5", replace(SENT, service_tier="flex"), "0.0106875"),
        ("gpt-5", replace(SENT, service_tier="priority"), "0.04275"),
        ("claude-sonnet-4-5", replace(SENT, service_tier="priority"), "0.0423"),  # has no tiers
    ],
)
def test_list_prices_know_how_long_a_cache_lasts_and_at_which_tier_a_call_was_served(
    model: str, usage: Usage, dollars: str
) -> None:
    assert list_price(model, usage) == Decimal(dollars)


def test_a_table_may_know_so_too() -> None:
    price = ModelPrice(
        input=2,
        output=4,
        cache_write=3,
        cache_write_1h=5,
        tiers={"flex": ModelPrice(input=1, output=2)},
    )

    assert price.of(WRITTEN) * 100 == 3
    assert price.of(replace(WRITTEN, cache_write_1h_tokens=5000)) * 100 == 4
    assert price.of(replace(SENT, service_tier="flex")) * 1000 == 12
    assert price.of(replace(SENT, service_tier="priority")) == price.of(SENT)


def test_list_prices_are_the_default_of_ledgers_as_of_budgets() -> None:
    ledger = Ledger()

    assert (
        ledger.add(ENTRY)
        == list_price("gpt-4o-mini", ENTRY.usage)
        == CostBudget("1").amount(
            Call(kind="model", name="gpt-4o-mini", input=None, run=Run()), ENTRY.usage
        )
    )


def test_without_the_extra_a_ledger_has_no_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_table, "find_spec", lambda name: None)

    assert Ledger().add(ENTRY) is None


def test_budgets_take_a_table_of_prices_as_ledgers_do() -> None:
    prices = {"gpt-4o-mini": ModelPrice(input=1, output=2.5)}
    call = Call(kind="model", name="gpt-4o-mini", input=None, run=Run())

    assert CostBudget("1", price=prices).amount(call, SEVEN) == Decimal("0.000013")
    with pytest.raises(ConfigurationError, match="price is a int"):
        CostBudget("1", price=3)  # type: ignore[arg-type]


def test_tiers_add_up_where_they_are_the_same() -> None:
    flex = replace(SENT, service_tier="flex")

    assert (flex + flex).service_tier == (flex + Usage()).service_tier == "flex"
    assert (flex + SENT).service_tier == (SENT + flex).service_tier == ""


def test_names_that_a_database_cannot_hold_are_made_to_fit(ledger: Ledger) -> None:
    ledger.add(replace(ENTRY, user="a\0b\ud800" + "é" * 5000, node="x" * 5000))

    assert only(ledger).spent == SEVEN


def test_the_oldest_are_forgotten() -> None:
    ledger = Ledger(max_entries=2)
    for name in ("a", "b", "c", "b"):
        ledger.add(replace(ENTRY, id=name))

    assert [entry.id for entry in ledger.entries()] == ["b", "c"]
    ledger.add(replace(ENTRY, id="a"))
    assert [entry.id for entry in ledger.entries()] == ["c", "a"]


def test_many_threads_note_each_call_once(ledger: Ledger) -> None:
    names = [str(number) for number in range(100)] * 4

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: ledger.add(replace(ENTRY, id=name)), names))

    assert only(ledger).spent.calls == 100


def test_a_closed_ledger_opens_anew(ledger: Ledger) -> None:
    ledger.add(ENTRY)
    ledger.close()
    ledger.add(replace(ENTRY, id="2"))
    ledger.close()

    assert only(ledger).spent.calls == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"postgres": 5432}, "type int that is not a URL"),
        ({"postgres": "postgresql://user:p@ss@word@host/db"}, "cannot be read"),
        ({"postgres": "memory://", "journal": "."}, "with memory://"),
        ({"retention": timedelta(0)}, "retention is"),
        ({"retention": 7}, "retention is 7"),
        ({"max_entries": 0}, "max_entries is 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"price": "0.15"}, "price is a str"),
        ({"price": {"gpt-4o": 0.15}}, "price is a dict"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Ledger(**options)


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="cannot be made"):
        Ledger("postgresql://localhost/x", journal=tmp_path / "file")


@pytest.mark.parametrize("price", [-1, "1"])
def test_a_price_is_a_number_of_dollars(price: Any) -> None:
    with pytest.raises(ConfigurationError, match="output is"):
        ModelPrice(input=1, output=price)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "colour"}, "'colour' is nothing"),
        ({"by": ("user", "task")}, "'task' is nothing"),
        ({"where": {"id": "1"}}, "'id' is nothing"),
        ({"since": datetime(2026, 1, 1)}, "since is"),
        ({"until": "2026-01-01"}, "until is"),
    ],
)
def test_questions_that_make_no_sense_are_refused(
    ledger: Ledger, options: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ledger.usage(**options)


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
        ({"input_token_details": {"cache_creation": 9}}, {"cache_write_tokens": 9}),
        (  # langchain-anthropic, and langchain-aws for Bedrock
            {
                "input_token_details": {
                    "cache_creation": 0,
                    "ephemeral_5m_input_tokens": 5,
                    "ephemeral_1h_input_tokens": 7,
                }
            },
            {"cache_write_tokens": 12, "cache_write_1h_tokens": 7},
        ),
        (  # langchain-openai
            {
                "input_token_details": {"audio": 0, "flex_cache_read": 2, "flex": 8},
                "output_token_details": {"flex_reasoning": 3, "flex": 4},
            },
            {"cache_read_tokens": 2, "reasoning_tokens": 3, "service_tier": "flex"},
        ),
        (
            {"input_token_details": {"priority": 8}, "output_token_details": {"priority": 4}},
            {"service_tier": "priority"},
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


def test_tokens_from_the_cache_are_cheaper_and_those_written_to_it_dearer() -> None:
    fresh = Usage(calls=1, input_tokens=1000)
    read, written = replace(fresh, cache_read_tokens=1000), replace(fresh, cache_write_tokens=1000)

    def price(usage: Usage) -> Any:
        return list_price("claude-3-5-haiku-latest", usage)

    assert 0 < price(read) < price(fresh) < price(written)


def test_list_prices_without_their_extra_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'lg-prod-nodes\[prices\]'"):
        list_price("gpt-4o", Usage(calls=1))


def test_a_model_that_no_list_has_has_no_price() -> None:
    assert list_price("of-our-own", Usage(calls=1, input_tokens=1000)) is None
    assert list_price("", Usage(calls=1)) is None


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o-mini", "anthropic.claude-3-5-haiku-20241022-v1:0"]
)
def test_a_model_may_be_named_as_gateways_name_it(model: str) -> None:
    assert list_price(model, Usage(calls=1, input_tokens=1000)) is not None
