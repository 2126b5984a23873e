"""Block unwanted content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from time import perf_counter
from typing import Any, ClassVar, TypeVar

from langchain_core.messages import SystemMessage

from lg_prod_nodes.content.clean import Trust
from lg_prod_nodes.content.finality import Reach, TermReach
from lg_prod_nodes.content.history import latest
from lg_prod_nodes.content.ordinary import is_ordinary
from lg_prod_nodes.content.walk import (
    QUICK,
    Rewrite,
    TakesLong,
    cleaned_errors,
    if_quick,
    rewrite,
    texts,
)
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import ConfigurationError, ContentBlocked
from lg_prod_nodes.core.policy import Policy, Role
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.detectors import Detector, term_recognizers
from lg_prod_nodes.detectors.replacing import Replacer
from lg_prod_nodes.detectors.terms import PlainOfTerms

T = TypeVar("T")


@dataclass(frozen=True, init=False)
class ContentFilter(Policy):
    """Refuses calls with blocked terms in their new input or their result.

    Terms match whole words and phrases, regardless of case, character width and Unicode normalization. In Korean, and
    in scripts without spaces between words, such as Chinese, Japanese and Thai, they match anywhere. Refusals name
    categories, never the text.

    Args:
        blocked: Terms, or terms by category: `["kill switch"]`, `{"weapons": ["pipe bomb"]}`.
        reply: The answer to a refused call, instead of an exception: a string, or a function of the `ContentBlocked`
            that returns a string or a state update. The refused message stays in the state with its blocked terms
            replaced.

    Raises:
        ContentBlocked: A blocked term was found and there is no `reply`; `categories` lists what was found.
        ConfigurationError: While building, if there are no terms to block, or the reply contains one.

    Example:
        ```python
        ContentFilter(blocked={"weapons": ["pipe bomb"]}, reply="I cannot help with that.")
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "update", "node", "model", "tool"})
    role: ClassVar[Role | None] = "content"

    blocked: tuple[tuple[str, tuple[str, ...]], ...]
    reply: str | Callable[[ContentBlocked], Any] | None = field(default=None)

    def __init__(
        self,
        blocked: Iterable[str] | Mapping[str, Iterable[str]],
        *,
        reply: str | Callable[[ContentBlocked], Any] | None = None,
    ) -> None:
        by_category = blocked if isinstance(blocked, Mapping) else {"BLOCKED": blocked}
        if any(isinstance(words, str) for words in by_category.values()):
            raise ConfigurationError(
                "a text was given where a list of terms is expected; give ['pipe bomb'], or lists by category"
            )
        terms = tuple((category.upper(), tuple(words)) for category, words in by_category.items())
        if not terms or not all(words and all(map(str.strip, words)) for _, words in terms):
            raise ConfigurationError(
                "a category without terms, or an empty term, blocks nothing; give at least one word"
            )
        vars(self).update(blocked=terms, reply=reply)
        if isinstance(reply, str) and self.detector.find(reply):
            raise ConfigurationError("the reply holds a blocked term itself; say it without")

    @cached_property
    def detector(self) -> Detector:
        """The detector that finds the terms."""
        return Detector(recognizers=term_recognizers(dict(self.blocked)))

    @property
    def writes(self) -> frozenset[str]:
        """`messages`, if the reply is a string."""
        return frozenset({"messages"} if isinstance(self.reply, str) else ())

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The detector."""
        return (self.detector,)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Check the input, the result, and everything streamed or stored in between."""
        found: Mapping[str, int] | None = None
        if not self._trust.holds(call, self):
            found = await self._found(call, call.input if self._takes_all(call) else _news(call))
            call = await self._without_history(call)
        if not found:
            leaving = self._replacer()
            with cleaned_errors(leaving.change):
                result = await handler(call.replace(texts=call.texts.passing(leaving)))
            found = leaving.blocked or await self._found(call, result)
            if not found:
                return result
        call.emit("content_found", policy=type(self).__name__, found=dict(found))
        return await call.refuse(ContentBlocked(found), self.reply)

    def _replacer(self) -> Replacer:
        return Replacer(self.detector.find, self._stand_in, self._reach, lambda category: True)

    async def _without_history(self, call: Call) -> Call:
        """Return the call with blocked terms replaced in its history, which is no reason to refuse it."""
        cleaned = call.input
        if not is_ordinary(cleaned, self._plain.is_plain):
            cleaned = await _walked(call, partial(self._rewritten, call))
        self._trust.note(call, self, cleaned)
        return call.replace(input=cleaned)

    @cached_property
    def _trust(self) -> Trust:
        return Trust()

    def _takes_all(self, call: Call) -> bool:
        return call.node is None or call.kind == "tool"

    async def _found(self, call: Call, value: Any) -> Counter[str] | None:
        if is_ordinary(value, self._plain.is_plain):
            return None
        said = await _walked(call, partial(texts, value))
        return await _walked(call, partial(self._count, said))

    def _count(self, said: Sequence[str], *, seconds: float | None = None) -> Counter[str]:
        until = None if seconds is None else perf_counter() + seconds
        found = Counter[str]()
        for text in said:
            if until is not None and (perf_counter() > until or not self.detector.is_known(text)):
                raise TakesLong
            found.update(finding.entity for finding in self.detector.find(text))
        return found

    def _rewritten(self, call: Call, *, seconds: float | None = None) -> Any:
        change: Rewrite = self._replacer().change
        if seconds is not None:
            change = if_quick(change, self.detector.is_known)
        if not _asks(call):
            return rewrite(call.input, change, seconds=seconds)
        said = _without_system(call.input)
        cleaned = iter(rewrite(said, change, clean=call.texts.clean, seconds=seconds))
        return [m if isinstance(m, SystemMessage) else next(cleaned) for m in call.input]

    @cached_property
    def _reach(self) -> Reach:
        return TermReach(self._terms)

    @cached_property
    def _plain(self) -> PlainOfTerms:
        return PlainOfTerms(self._terms)

    @property
    def _terms(self) -> tuple[str, ...]:
        return tuple(term for _, terms in self.blocked for term in terms)

    def _stand_in(self, category: str, term: str) -> str:
        name = f"[{category}]"
        return "[...]" if self.detector.find(name) else name


def _news(call: Call) -> Any:
    """Return what is new in a call's input, without a model's system messages: the application wrote those."""
    return _without_system(latest(call.input)) if _asks(call) else latest(call.input)


def _asks(call: Call) -> bool:
    """Return whether the call sends messages or texts to a model."""
    return call.kind == "model" and isinstance(call.input, list)


def _without_system(messages: Any) -> Any:
    return [message for message in messages if not isinstance(message, SystemMessage)]


async def _walked(call: Call, walk: Callable[..., T]) -> T:
    """Walk on the event loop if that is quick, else in a thread."""
    if call.blocking:
        return walk()
    try:
        return walk(seconds=QUICK)
    except TakesLong:
        return await call.run_blocking(walk)
