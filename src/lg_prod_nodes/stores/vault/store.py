"""A vault: stable tokens for personal values, and the way back, until their subject is forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from pydantic import SecretBytes, SecretStr

from lg_prod_nodes.core.errors import ConfigurationError, UnknownToken, VaultTampered
from lg_prod_nodes.core.resource import NOBODY, Ping
from lg_prod_nodes.core.secret import MAKE_KEY, Secret, SecretKey, key_of
from lg_prod_nodes.stores.store import Store
from lg_prod_nodes.stores.vault.keys import KEY_BYTES, Key, new_secret
from lg_prod_nodes.stores.vault.memory import MemoryRecords
from lg_prod_nodes.stores.vault.session import Session, SubjectKey, encoded
from lg_prod_nodes.stores.vault.tokens import TOKEN, restored, tokens_in

__all__ = ["TOKEN", "Session", "Vault", "restored", "tokens_in"]

_REMEMBERED = 10_000  # keys of subjects
_ROOT = b"root"
_NO_TOKEN = "[PING_aaaaaaaa]"


if TYPE_CHECKING:
    from lg_prod_nodes.stores.vault.postgres import PostgresRecords

    Backend = MemoryRecords | PostgresRecords


class Vault(Store["Backend"]):
    """Stores personal values, encrypted, and issues tokens such as `[EMAIL_ADDRESS_k3f9q2ab]` for them.

    Tokens are scoped to a *subject*, any text such as a user's or a thread's id: the same value has the same token
    within its subject, in all processes and after restarts, and another one elsewhere. `forget(subject)` destroys the
    subject's key, and with it the meaning of every token that it was ever given.

    The methods block, all but `session`: a policy calls them with `await call.run_blocking(vault.keep, session)`. What
    is stored are ciphertexts, random keys sealed under one another, and keyed digests of subjects and values.

    Args:
        postgres: The database, set up at first use; `memory://` for this process alone, where everything ends with
            the process. By default the database of the latest `Production` that used the vault, else memory; values
            that it stored in memory before do not move with it.
        key: The team's master key, 32 random bytes; as a `SecretStr` it is hexadecimal. Without it nothing in the
            database can be read, and all processes that use the database need the same one.
        old_keys: Former master keys. The first use seals the vault's root key, which is random, under `key` instead,
            and from then on the old ones are not needed. Whoever has an old key and an old copy of the database has the
            root key too: after such a theft, make a new vault.
        timeout: Seconds to wait at most for a connection, and for a statement; twice as long for a silent server.

    Raises:
        ConfigurationError: A key is not 32 bytes, the DSN cannot be read, the extra `vault` is missing, or, at first
            use, this vault is sealed under another key.
        StoreUnavailable: At use, when the database cannot be reached in time.
        VaultTampered: At use, when a record was changed.

    Example:
        ```python
        import secrets

        vault = Vault(key=secrets.token_bytes(32))
        session = vault.session("ada")
        while True:
            text = f"Write to {session.token('EMAIL_ADDRESS', 'ada@example.org')}!"
            if vault.keep(session):
                break
        assert vault.restore("ada", text) == "Write to ada@example.org!"
        ```
    """

    label = "vault"
    schemes = ("memory", "postgresql")
    stays = True

    def __init__(
        self,
        postgres: Secret | None = None,
        *,
        key: SecretKey,
        old_keys: Sequence[SecretKey] = (),
        timeout: float = 5.0,
    ) -> None:
        former = [_master_key(f"old_keys[{at}]", old) for at, old in enumerate(old_keys)]
        self._masters = (_master_key("key", key), *former)
        super().__init__(postgres, timeout=timeout)

    def __repr__(self) -> str:
        return f"<Vault {self._backend}>"

    def session(self, subject: str) -> Session:
        """A session in which a subject's values get their tokens; asks no database.

        Raises:
            ConfigurationError: The subject is empty, which would be one subject for everybody.
        """
        _check_subject(subject)
        root = self._root
        return Session(subject, self._keys.get(root.name(encoded(subject))) if root else None)

    def load(self, session: Session) -> None:
        """Load the key of a session's subject, so that the session gives tokens from the start."""
        session.begin(self._subject_key(session.subject))

    def keep(self, session: Session) -> bool:
        """Store the values that a session gave tokens for, in one round trip; in none where it gave no tokens.

        Returns:
            Whether the tokens may leave. If not, walk the texts again with this session, and keep again: its key was
            not loaded yet, the subject was forgotten meanwhile, or a token turned out to be another value's.
        """
        if not session.pending:
            return True
        key = session.key
        stored = self._backend.keep(key.id, session.sealed(key)) if key else {}
        if key is None or not stored:
            session.begin(self._subject_key(session.subject))
            return False
        collided = session.collided(key, stored)
        session.begin(key)
        return not collided

    def resolve(
        self, subject: str, tokens: Iterable[str], *, strict: bool = False
    ) -> dict[str, str]:
        """The originals of tokens, in one round trip. What stands for nothing here is left out.

        Raises:
            UnknownToken: If `strict`, when a token stands for nothing.
        """
        wanted = set(tokens)
        originals = self._read(subject, sorted(filter(TOKEN.fullmatch, wanted)))
        if strict and (unknown := wanted - originals.keys()):
            raise UnknownToken(unknown)
        return originals

    def restore(self, subject: str, text: str, *, strict: bool = False) -> str:
        """A text with the originals in place of their tokens. For many texts, use `tokens_in`, `resolve`, `restored`.

        Raises:
            UnknownToken: If `strict`, when what looks like a token stands for nothing. Else it stays as it is.
        """
        return restored(text, self.resolve(subject, tokens_in(text), strict=strict))

    def forget(self, subject: str) -> bool:
        """Destroy a subject's key and values: its tokens cannot be resolved any more, wherever they are.

        This holds at once for every process; open sessions continue under a new key. In Postgres the rows
        are deleted and their pages cleaned up at once. Whoever has the master key can still read them in what was
        written before: write-ahead log that is not recycled yet, replicas that lag, backups. The how-to on tokens says
        until when.

        Returns:
            Whether there was something to forget.
        """
        name = self._name(subject)
        self._keys.pop(name, None)
        return self._backend.forget(name)

    def ping(self) -> Ping:
        """Ask the database for a token that was never issued."""
        self.resolve(NOBODY, [_NO_TOKEN])
        return Ping()

    def _move(self, url: Secret) -> None:
        super()._move(url)
        self._root: Key | None = None
        self._keys: dict[bytes, SubjectKey] = {}

    def _in_memory(self) -> Backend:
        return MemoryRecords()

    def _in_postgres(self, url: SecretStr) -> Backend:
        from lg_prod_nodes.stores.vault.postgres import PostgresRecords

        return PostgresRecords(url, self._timeout)

    def _read(self, subject: str, tokens: Sequence[str]) -> dict[str, str]:
        if not tokens:
            return {}
        name = self._name(subject)
        wrapped, values = self._backend.read(name, tokens)
        if wrapped is None:
            return {}
        key = self._unwrapped(name, *wrapped)
        return {token: key.open(token, value) for token, value in values.items()}

    def _name(self, subject: str) -> bytes:
        _check_subject(subject)
        return self._opened_root().name(encoded(subject))

    def _subject_key(self, subject: str) -> SubjectKey:
        """A subject's key from the backend, a new one if there was none."""
        name, id = self._name(subject), uuid4()
        new = self._opened_root().seal(new_secret(), bound_to=name + id.bytes)
        return self._unwrapped(name, *self._backend.subject_key(name, id, new))

    def _unwrapped(self, name: bytes, id: UUID, wrapped: bytes) -> SubjectKey:
        known = self._keys.get(name)
        if known is not None and known.id == id:
            return known
        secret = self._opened_root().open(wrapped, bound_to=name + id.bytes)
        key = self._keys[name] = SubjectKey(id, Key(secret))
        if len(self._keys) > _REMEMBERED:
            with suppress(StopIteration, KeyError, RuntimeError):  # another thread was faster
                del self._keys[next(iter(self._keys))]
        return key

    def _opened_root(self) -> Key:
        if self._root is None:
            new = self._masters[0].seal(new_secret(), bound_to=_ROOT)
            self._root = self._unsealed_root(self._backend.root(new))
        return self._root

    def _unsealed_root(self, sealed: bytes) -> Key:
        for master in self._masters:
            with suppress(VaultTampered):
                secret = master.open(sealed, bound_to=_ROOT)
                if master is not self._masters[0]:
                    self._backend.replace_root(
                        sealed, self._masters[0].seal(secret, bound_to=_ROOT)
                    )
                return Key(secret)
        raise ConfigurationError(
            f"the vault {self._backend} is sealed under another master key, or its root was changed; give the key that "
            "it was made with as key=..., or in old_keys=[...] beside a new one"
        )


def _master_key(name: str, key: SecretKey) -> Key:
    is_key = isinstance(key, bytes | SecretBytes | SecretStr)
    size = (
        len(key_of(name, key)) if is_key else 0
    )  # the bytes in no variable, which tracebacks show
    if size != KEY_BYTES:
        given = f"{size} bytes" if is_key else f"a {type(key).__name__}"
        raise ConfigurationError(
            f"{name} is {given}, and has to be {KEY_BYTES} random bytes: make them once with {MAKE_KEY}, "
            "store that text with the secrets of the service, and give SecretStr(...) or bytes.fromhex(...) of it"
        )
    return Key(key_of(name, key))


def _check_subject(subject: str) -> None:
    if not isinstance(subject, str) or not subject:
        raise ConfigurationError(
            "a vault's subject is the text that tokens are scoped to, such as a user's id; it must not be empty"
        )
