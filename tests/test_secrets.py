"""A canary stands in every DSN, URL and key: no object, error, traceback or log line may show it."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretBytes, SecretStr
from rich.pretty import pretty_repr

from lg_prod_nodes import (
    AccountStore,
    Bulkhead,
    CaptureErrors,
    CircuitBreaker,
    CircuitStore,
    ConfigurationError,
    CostBudget,
    FailureLog,
    Ledger,
    LimitStore,
    Production,
    ProductionError,
    RateLimit,
    Redact,
    Settings,
    StoreUnavailable,
    TokenBudget,
    TokenUsage,
    Vault,
    by_user,
    harden,
)
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.secret import key_of
from lg_prod_nodes.service.persistence import aopen_postgres, open_postgres
from lg_prod_nodes.stores.accounts.store import Account
from lg_prod_nodes.stores.limits.limits_storage import PostgresStorage
from lg_prod_nodes.stores.limits.store import parse_limits

CANARY = "hunter2canary"
KEY = bytes.fromhex("c0ffee" * 10 + "c0ff")
SHOWN = (CANARY, KEY.hex(), repr(KEY)[2:-1])
GONE_POSTGRES = f"postgresql://ada:{CANARY}@127.0.0.1:1/app"
GONE_REDIS = f"redis://:{CANARY}@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def builder() -> Any:
    def agent(state: MessagesState) -> Any:
        return {"messages": [("assistant", "Hello.")]}

    return StateGraph(MessagesState).add_node("agent", agent).add_edge(START, "agent")


def holders() -> Iterator[Any]:
    """One of everything that is given a secret, as a text and as `SecretStr`."""
    for dsn in (GONE_POSTGRES, SecretStr(GONE_POSTGRES)):
        yield Ledger(dsn)
        yield FailureLog(dsn)
        yield Vault(dsn, key=KEY, old_keys=[KEY])
        yield Production(builder(), postgres=dsn)
        yield TokenUsage(ledger=Ledger(dsn))
        yield CaptureErrors(failures=FailureLog(dsn))
        for url in (dsn, GONE_REDIS, SecretStr(GONE_REDIS)):
            yield from (LimitStore(url), AccountStore(url), CircuitStore(url))
            yield RateLimit("1/second", store=url)
            yield Bulkhead(1, store=url)
            yield TokenBudget("5/day", store=url)
            yield CostBudget("5/day", store=url)
            yield CircuitBreaker(store=url)
    yield PostgresStorage(GONE_POSTGRES)
    yield Redact(strategy="hash", key=KEY)
    yield Redact(strategy="tokenize", vault=Vault(key=SecretBytes(KEY)), by=by_user)
    yield Settings(database_url=GONE_POSTGRES, redis_url=GONE_REDIS, vault_key=KEY.hex())


def is_clean(text: str) -> bool:
    return not any(secret in text for secret in SHOWN)


def test_nothing_that_is_given_a_secret_shows_it() -> None:
    for holder in holders():
        texts = [repr(holder), str(holder), f"{holder}", pretty_repr(holder), repr(vars(holder))]
        if is_dataclass(holder):
            texts.append(repr({name: getattr(holder, name) for name in vars(holder)}))
        assert all(map(is_clean, texts)), type(holder).__name__
        assert list(plain(holder)) == []


def plain(thing: Any, at: str = "", seen: set[int] | None = None) -> Iterator[str]:
    """Where an object of ours, and what it consists of, has a secret as plain text."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, str):
        if not is_clean(thing):
            yield at
    elif isinstance(thing, (list, tuple, dict)):
        parts = thing.items() if isinstance(thing, dict) else enumerate(thing)
        for name, part in parts:
            yield from plain(part, f"{at}[{name!r}]", seen)
    elif type(thing).__module__.startswith("lg_prod_nodes."):
        for name, part in getattr(thing, "__dict__", {}).items():
            yield from plain(part, f"{at}.{name}", seen)


def test_a_policy_with_a_url_can_be_compared_and_copied() -> None:
    limit = RateLimit("1/second", store=GONE_REDIS)
    assert limit.store == SecretStr(GONE_REDIS)
    assert copy.copy(limit).store == limit.store
    assert RateLimit("1/second", store=SecretStr("memory://")).store_in_use.local is not None


def test_keys_are_taken_as_settings_have_them() -> None:
    with Vault(key=SecretStr(KEY.hex())) as vault:
        session = vault.session("ada")
        assert vault.resolve("ada", ["x"]) == {}
        assert session.subject == "ada"
    node = {"email": "ada@example.com"}
    digests = {
        Redact("EMAIL_ADDRESS", strategy="hash", key=key).replacer().change(node["email"])
        for key in (KEY, SecretBytes(KEY), SecretStr(KEY.hex()))
    }
    assert len(digests) == 1
    with pytest.raises(ConfigurationError, match="key is not of hexadecimal digits") as caught:
        key_of("key", SecretStr(CANARY))
    assert_hidden(caught.value)


def failures() -> Iterator[tuple[str, Callable[[SecretStr, SecretStr], Any]]]:
    """Uses of a database and a Redis that do not let us in."""
    account = Account("ada", limit=1)
    yield "Production", lambda dsn, url: Production(builder(), postgres=dsn).__enter__()
    yield "open_postgres", lambda dsn, url: open_postgres(dsn).__enter__()
    yield "aopen_postgres", lambda dsn, url: asyncio.run(aopen_postgres(dsn).__aenter__())
    yield "LimitStore", lambda dsn, url: acquire(LimitStore(dsn))
    yield "LimitStore, Redis", lambda dsn, url: acquire(LimitStore(url))
    for place in (0, 1):
        yield (
            f"AccountStore {place}",
            lambda *urls, at=place: drive(
                AccountStore(urls[at], timeout=1.0).reserve(account, 1, blocking=True)
            ),
        )
    yield "FailureLog", lambda dsn, url: FailureLog(dsn).list()
    yield "Ledger", lambda dsn, url: Ledger(dsn, timeout=1.0).usage()
    yield "Vault", lambda dsn, url: Vault(dsn, key=SecretStr(KEY.hex())).forget("ada")
    yield "RateLimit", lambda dsn, url: limited(dsn).invoke({"messages": []})


def acquire(store: LimitStore) -> Any:
    return drive(store.acquire(parse_limits("1/second"), "ada", blocking=True))


def limited(url: SecretStr) -> Any:
    return harden(builder(), [RateLimit("1/second", store=url, store_down="raise")]).compile()


@pytest.mark.parametrize("fail", [pytest.param(fail, id=name) for name, fail in failures()])
@pytest.mark.parametrize("is_there", [True, False], ids=["refused", "gone"])
def test_no_error_traceback_or_log_shows_a_secret(
    fail: Callable[[SecretStr, SecretStr], Any],
    is_there: bool,
    postgres_server: str,
    valkey_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    dsn, url = GONE_POSTGRES, GONE_REDIS
    if is_there:
        dsn, url = with_password(postgres_server), with_password(valkey_url)
    with pytest.raises(StoreUnavailable) as caught:
        fail(SecretStr(dsn), SecretStr(url))
    assert_hidden(caught.value)
    assert is_clean(caplog.text)


WRONG: dict[str, Callable[[Callable[[str], Any]], Any]] = {
    "Production": lambda of: Production(
        builder(), postgres=of(f"postgresql://a:{CANARY}@b@c/d")
    ).__enter__(),
    "LimitStore": lambda of: LimitStore(of(f"mysql://a:{CANARY}@b")),
    "LimitStore, Redis": lambda of: LimitStore(of(f"redis://a:{CANARY}@b:port")),
    "AccountStore": lambda of: AccountStore(of(f"a:{CANARY}@b")),
    "AccountStore, Redis": lambda of: AccountStore(of(f"valkey://a:{CANARY}@b:port")),
    "CircuitStore": lambda of: CircuitStore(of(CANARY)),
    "FailureLog": lambda of: FailureLog(of(f"postgresql://a:{CANARY}@b@c/d")),
    "Ledger": lambda of: Ledger(of(f"postgresql://a:{CANARY}@b@c/d")),
    "Vault": lambda of: Vault(of(f"postgresql://a:{CANARY}@b@c/d"), key=SecretBytes(KEY)),
    "Vault, key": lambda of: Vault(key=SecretBytes(KEY + b"x")),
    "Vault, hexadecimal": lambda of: Vault(key=SecretStr(KEY.hex()[2:])),
    "Vault, old key": lambda of: Vault(
        key=SecretBytes(KEY), old_keys=[SecretStr(KEY.hex() + "ff")]
    ),
    "RateLimit": lambda of: RateLimit("1/second", store=of(f"ftp://a:{CANARY}@b")),
    "CircuitBreaker": lambda of: CircuitBreaker(store=of(f"ftp://a:{CANARY}@b")),
    "Settings": lambda of: Settings(database_url=of(f"mysql://a:{CANARY}@b"), vault_key=of(CANARY)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_is_not_shown(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        WRONG[name](SecretStr)
    assert_hidden(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        WRONG[name](str)
    assert is_clean("".join(traceback.format_exception(caught.value)))


def test_an_open_service_hides_its_database(dsn: str) -> None:
    service = Production(builder(), postgres=dsn)
    password = urlsplit(dsn).password
    assert password
    with service as app:
        assert isinstance(service.dsn, SecretStr)
        for thing in (service, app, app.checkpointer, app.store, vars(service)):
            assert password not in repr(thing)


def with_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"ada:{CANARY}@{parts.hostname}:{parts.port}").geturl()


def assert_hidden(error: BaseException) -> None:
    """Neither an error nor those that led to it show a secret, printed or with the variables of their frames."""
    assert is_clean("".join(traceback.format_exception(error)))
    if isinstance(error, ProductionError):
        assert is_clean(repr(pickle.loads(pickle.dumps(error))))
    led: BaseException | None = error
    while led is not None:
        for name, value in variables(led.__traceback__):
            assert is_clean(value), name
        led = led.__cause__ or (None if led.__suppress_context__ else led.__context__)


def variables(frames: TracebackType | None) -> Iterator[tuple[str, str]]:
    """What a tool that shows variables would show, but for those of this file, which has the secrets."""
    while frames is not None:
        code = frames.tb_frame.f_code
        if code.co_filename != __file__:
            for name, value in frames.tb_frame.f_locals.items():
                with suppress(AttributeError):  # of an object that was not built to its end
                    yield f"{name} in {code.co_qualname}", repr(value)
        frames = frames.tb_next
