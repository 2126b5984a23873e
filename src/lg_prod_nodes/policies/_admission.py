"""The base of policies that admit or refuse calls: the key of a call, the store, the reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, get_args

from pydantic import SecretStr

from lg_prod_nodes.core.advice import wrong_choice
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.keys import Anonymous, Key, key_for, together
from lg_prod_nodes.core.policy import Policy, Role
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.core.secret import Secret, hidden


@dataclass(frozen=True)
class Admission(Policy):
    """Counts calls in a store, and refuses or answers those over the limit.

    Attributes:
        store_type: The store's class; it is built from a URL if the setting is one.
        while_down: The values that `store_down` may have.
    """

    role: ClassVar[Role | None] = "admit"
    store_type: ClassVar[Callable[[Secret | None], Resource]]
    while_down: ClassVar[tuple[str, ...]] = ("raise", "admit")

    by: Key = field(default=together, kw_only=True)
    anonymous: Anonymous = field(default="raise", kw_only=True)
    store: Any = field(default=None, kw_only=True, repr=False)
    reply: str | Callable[[Any], Any] | None = field(default=None, kw_only=True)
    name: str = field(default="Admission", kw_only=True)
    store_down: str = field(default="raise", kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.store, str):
            object.__setattr__(self, "store", hidden(self.store))
        for problem in self.problems():
            raise ConfigurationError(problem)
        _ = self.store_in_use

    def problems(self) -> Iterator[str]:
        """Yield a message for each invalid setting: the value given, and the values allowed."""
        if not callable(self.by):
            yield f"by is {self.by!r}; give a function of the call, such as by_user"
        yield from wrong_choice("anonymous", self.anonymous, get_args(Anonymous))
        kind: Any = type(self).store_type
        if not (self.store is None or isinstance(self.store, (SecretStr, kind))):
            yield f"store is neither a URL nor of the type {kind.__name__}; give 'memory://'"
        if not (self.reply is None or isinstance(self.reply, str) or callable(self.reply)):
            yield f"reply is {self.reply!r}; give a text or a function"
        if not (self.name and isinstance(self.name, str)):
            yield f"name is {self.name!r}; give a text"
        yield from wrong_choice("store_down", self.store_down, self.while_down)

    def key(self, call: Call) -> str | None:
        """Return the key that a call counts under, `None` for the shared one.

        Raises:
            AnonymousCall: The call has none, and `anonymous` is `"raise"`.
        """
        return key_for(call, self.by, anonymous=self.anonymous, policy=self.name)

    @cached_property
    def store_in_use(self) -> Any:
        """The store."""
        is_url = self.store is None or isinstance(self.store, SecretStr)
        return type(self).store_type(self.store) if is_url else self.store

    @property
    def writes(self) -> frozenset[str]:
        """`messages`, if the reply is a string and answers a run rather than a model call."""
        is_written = isinstance(self.reply, str) and "run" in self.kinds
        return frozenset({"messages"} if is_written else ())

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The store."""
        return (self.store_in_use,)
