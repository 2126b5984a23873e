"""What gives tokens: a subject's key, and a session in which they are noted until the vault has stored them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from lg_prod_nodes.stores.vault.keys import Key
from lg_prod_nodes.stores.vault.tokens import label_of, token_of


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SubjectKey:
    """The key of a subject. Another one, under another id, replaces it when the subject is forgotten.

    Attributes:
        id: Tells this key from a later one of the same subject.
        key: Names and seals the subject's values.
        levels: By digest, how much longer a value's token has to be, since shorter ones are other values'.
    """

    id: UUID
    key: Key
    levels: dict[bytes, int] = field(default_factory=dict[bytes, int])

    def digest(self, entity: str, value: str) -> bytes:
        """A value's name."""
        kind = encoded(entity)
        return self.key.name(b"%d:%b%b" % (len(kind), kind, encoded(value)))

    def seal(self, token: str, value: str) -> bytes:
        """A value, sealed for its token."""
        return self.key.seal(encoded(value), bound_to=encoded(token))

    def open(self, token: str, sealed: bytes) -> str:
        """The value of a token.

        Raises:
            VaultTampered: It was not sealed for this token.
        """
        return self.key.open(sealed, bound_to=encoded(token)).decode("utf-8", "surrogatepass")


class _Given(NamedTuple):
    entity: str
    value: str
    digest: bytes = b""


class Session:
    """Gives the values of one subject their tokens, without waiting; `Vault.keep` stores them before they leave.

    A session belongs to one walk or one stream, and to one thread at a time.
    """

    __slots__ = ("_given", "key", "subject")

    def __init__(self, subject: str, key: SubjectKey | None) -> None:
        self.subject = subject
        self.key = key
        self._given: dict[str, _Given] = {}

    @property
    def pending(self) -> bool:
        """Whether tokens were given that are not stored yet."""
        return bool(self._given)

    def token(self, entity: str, value: str) -> str:
        """The token of a value: the same one whenever this subject has it, in any process.

        As long as the subject's key is not loaded this is only `[ENTITY]`, and `Vault.keep` asks for another walk.
        """
        if self.key is None:
            stand_in = f"[{label_of(entity)}]"
            self._given[stand_in] = _Given(entity, value)
            return stand_in
        given = _Given(entity, value, self.key.digest(entity, value))
        level = self.key.levels.get(given.digest, 0)
        while True:
            token = token_of(entity, given.digest, level)
            if self._given.setdefault(token, given).value == value:
                return token
            level += 1

    def sealed(self, key: SubjectKey) -> dict[str, bytes]:
        """The values to store, by token, in the order of these."""
        return {token: key.seal(token, given.value) for token, given in sorted(self._given.items())}

    def collided(self, key: SubjectKey, stored: Mapping[str, bytes]) -> bool:
        """Whether a value was given a token that is not its own. Its own is the shortest that no other value has.

        Args:
            key: What the values are sealed under.
            stored: What the vault has at the tokens that were given.
        """
        values = {token: key.open(token, sealed) for token, sealed in stored.items()}
        collided = False
        for token, (entity, value, digest) in self._given.items():
            level = key.levels.get(digest, 0)
            while values.get(own := token_of(entity, digest, level), value) != value:
                level += 1
                key.levels[digest] = level
            collided = collided or own != token
        return collided

    def begin(self, key: SubjectKey | None) -> None:
        """Go on with a key, with no token given yet."""
        self.key = key
        self._given.clear()


def encoded(text: str) -> bytes:
    """A text as bytes; also one with half of a surrogate pair, which JSON can bring in."""
    return text.encode("utf-8", "surrogatepass")
