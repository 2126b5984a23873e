"""Keep unwanted content out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from lg_prod_nodes.call import Call, Handler, Kind
from lg_prod_nodes.content import latest, rewrite, texts
from lg_prod_nodes.detectors import Detector, term_recognizers
from lg_prod_nodes.errors import ConfigurationError, ContentBlocked
from lg_prod_nodes.policy import Policy, Role


@dataclass(frozen=True, init=False)
class ContentFilter(Policy):
    """Refuses calls whose new input or whose result holds blocked terms.

    Terms match whole words and phrases, whatever their case or width. A refusal names categories, never the text.

    Args:
        blocked: Terms, or terms by category: `["kill switch"]`, `{"weapons": ["pipe bomb"]}`.
        reply: Answers instead of raising: a text, or a function of the `ContentBlocked` that gives a text or a state
            update. The message that was refused is kept in state with its blocked words replaced.

    Raises:
        ContentBlocked: A blocked term was found and there is no `reply`; `categories` names what.
        ConfigurationError: While building, when there is nothing to block.

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
        """What finds the terms."""
        return Detector(recognizers=term_recognizers(dict(self.blocked)))

    @property
    def writes(self) -> frozenset[str]:
        """`messages`, for a reply that is a text."""
        return frozenset({"messages"} if isinstance(self.reply, str) else ())

    def warm_up(self) -> None:
        """Load the recognizers."""
        self.detector.warm_up()

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Check what goes in, and what comes out."""
        whole = call.node is None or call.kind == "tool"
        found = self._categories(call, call.input if whole else latest(call.input))
        # What was said before is no reason to refuse, but it is kept from nodes and models.
        call = call.replace(input=rewrite(call.input, self._blank))
        if found:
            return await call.refuse(ContentBlocked(found), self.reply)
        result = await handler(call)
        if found := self._categories(call, result):
            return await call.refuse(ContentBlocked(found), self.reply)
        return result

    def _categories(self, call: Call, value: Any) -> dict[str, int]:
        found: dict[str, int] = {}
        for text in texts(value):
            for finding in self.detector.find(text):
                found[finding.entity] = found.get(finding.entity, 0) + 1
        if found:
            call.emit("content_found", policy=type(self).__name__, found=found)
        return found

    def _blank(self, text: str) -> str:
        for finding in reversed(self.detector.find(text)):
            name = f"[{finding.entity}]"
            stand_in = "[...]" if self.detector.find(name) else name
            text = f"{text[: finding.start]}{stand_in}{text[finding.end :]}"
        return text
