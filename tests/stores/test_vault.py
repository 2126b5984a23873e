"""One contract for both places of a vault: the memory of a process, and a real Postgres."""

from __future__ import annotations

import asyncio
import pickle
import secrets
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lg_prod_nodes import ConfigurationError, Run, StoreUnavailable, UnknownToken, VaultTampered
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.stores.vault import keys as _vault_keys
from lg_prod_nodes.stores.vault import session as _vault_session
from lg_prod_nodes.stores.vault import store as vault_module
from lg_prod_nodes.stores.vault.store import TOKEN, Session, Vault, restored, tokens_in

KEY = bytes(range(32))
EMAIL, NAME = "EMAIL_ADDRESS", "PERSON"
ANY_TEXT = st.text(st.characters(), max_size=30)  # halves of surrogate pairs too
SAME_DATABASE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["memory", "postgres"])
def vault(request: pytest.FixtureRequest) -> Iterator[Vault]:
    dsn = None if request.param == "memory" else str(request.getfixturevalue("dsn"))
    with Vault(dsn, key=KEY) as vault:
        yield vault


def tokenize(vault: Vault, subject: str, *values: str, entity: str = EMAIL) -> list[str]:
    """Give values their tokens, as a policy does."""
    return walked(vault, vault.session(subject), *values, entity=entity)


def walked(vault: Vault, session: Session, *values: str, entity: str = EMAIL) -> list[str]:
    while True:
        tokens = [session.token(entity, value) for value in values]
        if vault.keep(session):
            return tokens


class Spy:
    """Counts the round trips of a vault."""

    def __init__(self, vault: Vault) -> None:
        self.backend: Any = vault._backend
        self.asked: list[str] = []
        self.broken = False
        vault._backend = self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            self.asked.append(name)
            if self.broken:
                raise StoreUnavailable("down")
            return getattr(self.backend, name)(*arguments)

        return ask


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the digests of values begin alike, with so many bytes."""
    digest = _vault_session.SubjectKey.digest

    def begin_alike(length: int) -> None:
        def shortened(key: Any, entity: str, value: str) -> bytes:
            return bytes(length) + digest(key, entity, value)[length:]

        monkeypatch.setattr(_vault_session.SubjectKey, "digest", shortened)

    return begin_alike


def test_a_value_has_one_token_within_its_subject(vault: Vault) -> None:
    first, other = tokenize(vault, "ada", "ada@example.org", "bob@example.org")

    assert tokenize(vault, "ada", "ada@example.org") == [first]
    assert first != other
    assert tokenize(vault, "bob", "ada@example.org") != [first]
    assert tokenize(vault, "ada", "ada@example.org", entity="URL") != [first]
    assert vault.resolve("ada", [first, other]) == {
        first: "ada@example.org",
        other: "bob@example.org",
    }


@pytest.mark.parametrize(
    ("entity", "label"),
    [
        ("EMAIL_ADDRESS", "EMAIL_ADDRESS"),
        ("order number", "ORDER_NUMBER"),
        ("_x]-[y_", "X_Y"),
        ("IBAN2", "IBAN2"),
        ("имя", "VALUE"),
        ("", "VALUE"),
        ("A" * 200, "A" * 64),
    ],
)
def test_a_token_is_a_label_and_eight_characters(vault: Vault, entity: str, label: str) -> None:
    (token,) = tokenize(vault, "ada", "x", entity=entity)

    assert token.startswith(f"[{label}_")
    assert len(token) == len(label) + 11
    assert tokens_in(f"a {token}{token} [{token}]") == {token}
    assert vault.restore("ada", token) == "x"


def test_an_entity_and_its_value_are_not_run_together(vault: Vault) -> None:
    (left,), (right,) = (
        tokenize(vault, "ada", value, entity=entity) for entity, value in (("A", "1B"), ("A1", "B"))
    )

    assert left[-10:] != right[-10:]


@pytest.mark.parametrize(
    "text", ["[EMAIL_ADDRESS]", "[user_identifier]", "[A_k3f9q2a]", "A_k3f9q2ab", "[A_" + "b" * 53]
)
def test_ordinary_brackets_are_no_tokens(text: str) -> None:
    assert tokens_in(text) == set()


@SAME_DATABASE
@given(st.lists(st.tuples(ANY_TEXT, st.sampled_from([EMAIL, NAME, "X"]), ANY_TEXT), max_size=6))
def test_restoring_undoes_tokenizing(vault: Vault, pieces: list[tuple[str, str, str]]) -> None:
    session = vault.session(subject := uuid4().hex)
    while True:
        tokenized = [text + session.token(entity, value) for text, entity, value in pieces]
        if vault.keep(session):
            break

    assert vault.restore(subject, "".join(tokenized)) == "".join(
        text + value for text, _, value in pieces
    )


@SAME_DATABASE
@given(st.lists(ANY_TEXT, unique=True, max_size=30), st.integers(0, 24))
def test_no_token_ever_stands_for_two_values(vault: Vault, values: list[str], length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        digest = _vault_session.SubjectKey.digest
        patch.setattr(
            _vault_session.SubjectKey,
            "digest",
            lambda *given: bytes(length) + digest(*given)[length:],
        )
        subject = uuid4().hex
        tokens = [tokenize(vault, subject, value)[0] for value in values]
        at_once = tokenize(vault, subject, *reversed(values))[::-1]

    assert len(set(tokens)) == len(values)
    assert at_once == tokens
    assert vault.resolve(subject, tokens) == dict(zip(tokens, values, strict=True))


def test_what_collides_gets_a_longer_token(vault: Vault, alike: Callable[[int], None]) -> None:
    alike(12)
    tokens = tokenize(vault, "ada", "a", "b", "c")
    assert [len(token) for token in tokens] == [24, 32, 48]

    with Vault(key=KEY) as other:  # which has learnt nothing of it
        other._backend = vault._backend
        assert tokenize(other, "ada", "c") == tokens[2:]
        assert tokenize(other, "ada", "b", "c", "a") == [tokens[1], tokens[2], tokens[0]]
        assert other.restore("ada", "".join(tokens)) == "abc"


def test_a_token_within_a_value_is_not_restored_again(vault: Vault) -> None:
    (inner,) = tokenize(vault, "ada", "ada@example.org")
    (outer,) = tokenize(vault, "ada", f"[[{inner}]]")

    assert vault.restore("ada", f"[{outer}]") == f"[[[{inner}]]]"


def test_what_was_never_given_stays(vault: Vault) -> None:
    (token,) = tokenize(vault, "ada", "ada@example.org")
    stray = "[EMAIL_ADDRESS_aaaaaaaa]"
    text = f"{stray} {token} [x]"

    assert vault.restore("ada", text) == f"{stray} ada@example.org [x]"
    assert vault.restore("bob", text) == text
    assert vault.resolve("ada", [stray, "no token\0"]) == {}


def test_strictly_what_was_never_given_is_an_error(vault: Vault) -> None:
    (token,) = tokenize(vault, "ada", "ada@example.org")
    stray = "[EMAIL_ADDRESS_aaaaaaaa]"

    assert vault.restore("ada", f"to {token}", strict=True) == "to ada@example.org"
    with pytest.raises(UnknownToken, match=r"1 unknown token\(s\)") as error:
        vault.restore("ada", f"{stray} {token}", strict=True)
    assert error.value.tokens == (stray,)
    assert pickle.loads(pickle.dumps(error.value)).tokens == (stray,)
    with pytest.raises(UnknownToken):
        vault.resolve("bob", [token], strict=True)


def test_many_texts_are_restored_with_one_read(vault: Vault) -> None:
    tokens = tokenize(vault, "ada", "a", "b", "c")
    spy = Spy(vault)
    texts = [f"1{tokens[0]}", f"2{tokens[1]}{tokens[2]}", "3"]

    originals = vault.resolve("ada", set().union(*map(tokens_in, texts)))

    assert [restored(text, originals) for text in texts] == ["1a", "2bc", "3"]
    assert spy.asked == ["read"]


def test_a_session_asks_only_when_it_must(vault: Vault) -> None:
    tokenize(vault, "bob", "a")
    spy = Spy(vault)
    session = vault.session("ada")
    assert vault.keep(session)
    assert vault.restore("ada", "no [token]") == "no [token]"
    assert spy.asked == []

    assert session.token(EMAIL, "ada@example.org") == "[EMAIL_ADDRESS]"
    assert session.pending
    assert not vault.keep(session)
    assert spy.asked == ["subject_key"]

    walked(vault, session, "ada@example.org", "b", "c", "d")
    assert not session.pending
    assert vault.keep(session)
    assert spy.asked == ["subject_key", "keep"]
    tokenize(vault, "ada", "b", "new")
    assert spy.asked == ["subject_key", "keep", "keep"]


def test_nothing_leaves_that_could_not_be_stored(vault: Vault) -> None:
    session = vault.session("ada")
    walked(vault, session, "a")
    spy = Spy(vault)
    token = session.token(EMAIL, "b")
    spy.broken = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            vault.keep(session)
    assert session.pending

    spy.broken = False
    assert vault.keep(session)
    assert vault.restore("ada", token) == "b"


def test_forgetting_makes_every_token_meaningless(vault: Vault) -> None:
    (token,) = tokenize(vault, "ada", "ada@example.org")
    (of_bob,) = tokenize(vault, "bob", "ada@example.org")

    assert vault.forget("ada")
    assert not vault.forget("ada")
    assert not vault.forget("nobody")
    assert vault.restore("ada", token) == token
    assert vault.restore("bob", of_bob) == "ada@example.org"
    with pytest.raises(UnknownToken):
        vault.resolve("ada", [token], strict=True)


@pytest.mark.parametrize("known", [True, False])
def test_a_session_of_a_forgotten_subject_continues_under_a_new_key(
    vault: Vault, known: bool
) -> None:
    session = vault.session("ada")
    (old,) = walked(vault, session, "ada@example.org")
    vault.forget("ada")

    assert session.token(EMAIL, "ada@example.org" if known else "b") != "[EMAIL_ADDRESS]"
    assert not vault.keep(session)
    (new,) = walked(vault, session, "ada@example.org")
    assert new != old
    assert vault.restore("ada", f"{old} {new}") == f"{old} ada@example.org"


def test_a_session_open_since_before_a_subject_came_back_does_not_use_its_old_key(
    vault: Vault,
) -> None:
    session = vault.session("ada")
    walked(vault, session, "a")
    vault.forget("ada")
    (new,) = tokenize(vault, "ada", "a")

    session.token(EMAIL, "b")
    assert not vault.keep(session)
    assert walked(vault, session, "a") == [new]


def test_threads_that_open_a_new_subject_at_once_agree(vault: Vault) -> None:
    barrier = Barrier(12)

    def one(number: int) -> list[str]:
        barrier.wait()
        return tokenize(vault, "ada", "same", f"own {number}")

    with ThreadPoolExecutor(12) as pool:
        tokens = list(pool.map(one, range(12)))

    assert len({token for token, _ in tokens}) == 1
    assert [vault.restore("ada", own) for _, own in tokens] == [f"own {n}" for n in range(12)]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_policy_keeps_and_resolves_in_any_event_loop(vault: Vault, blocking: bool) -> None:
    async def turn() -> dict[str, str]:
        call = Call(kind="run", name="graph", input=None, run=Run(), blocking=blocking)
        session = vault.session("ada")
        while True:
            token = session.token(EMAIL, "ada@example.org")
            if await call.run_blocking(vault.keep, session):
                return await call.run_blocking(vault.resolve, "ada", [token])

    async def turns() -> list[dict[str, str]]:
        return await asyncio.gather(*(turn() for _ in range(5)))

    answers = [*asyncio.run(turns()), *asyncio.run(turns())]

    assert [*map(list, map(dict.values, answers))] == [["ada@example.org"]] * 10
    assert len({token for answer in answers for token in answer}) == 1


def test_closing_loses_nothing(vault: Vault) -> None:
    (token,) = tokenize(vault, "ada", "ada@example.org")
    vault.close()
    vault.close()

    assert vault.restore("ada", token) == "ada@example.org"


def test_only_so_many_keys_are_remembered(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_module, "_REMEMBERED", 2)
    tokens = {subject: tokenize(vault, subject, "a") for subject in "abc"}

    assert len(vault._keys) == 2
    assert {subject: tokenize(vault, subject, "a") for subject in "abc"} == tokens


def test_nothing_shows_what_is_stored(vault: Vault) -> None:
    session = vault.session("ada")
    walked(vault, session, "ada@example.org")
    session.token(EMAIL, "bob@example.org")
    shown = f"{vault!r} {vault} {session!r} {session.key!r} {vault._root!r} {vault._keys!r}"

    assert not any(secret in shown for secret in ("ada", "example", repr(KEY), KEY.hex()))
    assert "vault" in repr(vault).lower()


def test_a_vault_says_where_it_keeps_things() -> None:
    assert repr(Vault(key=KEY)) == "<Vault in the memory of this process>"
    there = Vault("postgresql://me:hush@db.example:5/x", key=KEY)
    assert repr(there) == "<Vault in the Postgres at db.example>"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": b"short and secret"}, "key is 16 bytes, and has to be 32"),
        ({"key": "ab" * 32}, "key is a str, and .* bytes.fromhex"),
        ({"key": None}, "key is a NoneType"),
        ({"key": KEY, "old_keys": [KEY, b"secret"]}, r"old_keys\[1\] is 6 bytes"),
        ({"key": KEY, "old_keys": KEY}, r"old_keys\[0\] is a int"),
        ({"key": KEY, "timeout": 0}, "timeout is 0; give seconds"),
        ({"key": KEY, "postgres": "postgresql://me:sec@ret@host/db"}, "percent-encoded"),
        ({"key": KEY, "postgres": "postgresql://me:sec/ret@host/db"}, "percent-encoded"),
        ({"key": KEY, "postgres": "secret nonsense"}, "percent-encoded"),
    ],
)
def test_a_wrong_set_up_is_reported_without_secrets(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as error:
        Vault(**options)
    told = f"{error.value} {error.value.__cause__}"
    assert not any(secret in told for secret in ("sec@", "sec/", "secret ", "abab"))


@pytest.mark.parametrize("subject", ["", None, b"ada"])
def test_tokens_need_a_subject(vault: Vault, subject: Any) -> None:
    for use in (vault.session, vault.forget, lambda it: vault.resolve(it, ["[A_aaaaaaaa]"])):
        with pytest.raises(ConfigurationError, match="must not be empty"):
            use(subject)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'lg-prod-nodes\[vault\]'"):
        Vault(key=KEY)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=60))
def test_secrets_are_derived_as_rfc_5869_says(secret: bytes, purpose: bytes) -> None:
    expected = HKDF(SHA256(), 32, salt=None, info=purpose).derive(secret)

    assert _vault_keys.derive(secret, purpose) == expected


@given(st.binary(max_size=50), st.binary(max_size=9), st.data())
def test_what_is_sealed_opens_only_unchanged_and_for_its_token(
    plain: bytes, backend: bytes, data: st.DataObject
) -> None:
    key = _vault_keys.Key(KEY)
    sealed = key.seal(plain, bound_to=backend)
    at = data.draw(st.integers(0, len(sealed) - 1))
    flipped = sealed[:at] + bytes([sealed[at] ^ data.draw(st.integers(1, 255))]) + sealed[at + 1 :]

    assert key.open(sealed, bound_to=backend) == plain
    assert key.seal(plain, bound_to=backend) != sealed
    for changed, where in ((flipped, backend), (sealed[:at], backend), (sealed, backend + b".")):
        with pytest.raises(VaultTampered, match="changed or moved"):
            key.open(changed, bound_to=where)
    with pytest.raises(VaultTampered):
        _vault_keys.Key(secrets.token_bytes(32)).open(sealed, bound_to=backend)


def test_looking_for_tokens_takes_linear_time() -> None:
    hostile = "[" + "A_" * 50_000 + "[A_" * 50_000 + "[A" + "_a2" * 50_000

    assert TOKEN.findall(hostile) == []
