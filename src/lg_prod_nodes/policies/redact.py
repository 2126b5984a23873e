"""Keep personal data out of models, streams, logs and database."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from lg_prod_nodes.call import Call, Handler, Kind
from lg_prod_nodes.content import rewrite, rewrite_error
from lg_prod_nodes.detectors import DEFAULT_ENTITIES, Detector, Finding, detector_of
from lg_prod_nodes.errors import ConfigurationError, ContentBlocked
from lg_prod_nodes.policy import Policy, Role

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer

Strategy = Literal["redact", "mask", "hash", "block"]

_ROUNDS = 5
"""How often a text is looked at again: what was replaced can lay open what stood beside it."""


@dataclass(frozen=True, init=False)
class Redact(Policy):
    """Replaces personal data wherever content crosses into or out of a graph and its nodes.

    Acts on a run's input before its first checkpoint, on `update_state` and resume values, on what nodes, models and
    tools return before it is written, on interrupts, and on exceptions. Messages keep their shape, id
    and type; what nothing was found in stays the very same object.

    Args:
        *entities: What to look for, by Presidio's names; with none given, cards, e-mail addresses, IBANs, IP
            addresses, phone numbers and US social security numbers.
        strategy: What to put in its place: `"redact"` the name of the entity, `"mask"` stars but for the last four
            characters, `"hash"` a keyed digest (the same value gives the same digest), `"block"` refuses the call.
        strategies: The strategy of single entities, by name.
        key: Key of the digests, needed for `"hash"`.
        recognizers: Further recognizers, such as Presidio's `PatternRecognizer`.
        threshold: The least score that counts, 0 to 1.

    Raises:
        ContentBlocked: Something was found whose strategy is `"block"`.
        ConfigurationError: While building, when an entity or strategy is not known, or a key is missing.

    Example:
        ```python
        Redact("EMAIL_ADDRESS", "CREDIT_CARD", strategies={"CREDIT_CARD": "mask"})
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "update", "node", "model", "tool"})
    role: ClassVar[Role | None] = "content"

    entities: tuple[str, ...]
    strategy: Strategy
    strategies: Mapping[str, Strategy] = field(hash=False)
    key: bytes | None = field(repr=False)
    recognizers: tuple[EntityRecognizer, ...]
    threshold: float

    def __init__(
        self,
        *entities: str,
        strategy: Strategy = "redact",
        strategies: Mapping[str, Strategy] | None = None,
        key: bytes | None = None,
        recognizers: Sequence[EntityRecognizer] = (),
        threshold: float = 0.4,
    ) -> None:
        own = tuple(
            entity for recognizer in recognizers for entity in recognizer.supported_entities
        )
        chosen = dict(strategies or {})
        vars(self).update(
            entities=(*(entities or (() if recognizers else DEFAULT_ENTITIES)), *own),
            strategy=strategy,
            strategies=chosen,
            key=key,
            recognizers=tuple(recognizers),
            threshold=threshold,
        )
        for name in (strategy, *chosen.values()):
            if name not in get_args(Strategy):
                raise ConfigurationError(
                    f"unknown strategy {name!r}; choose one of {', '.join(get_args(Strategy))}"
                )
        if key is not None and not isinstance(key, bytes):
            raise ConfigurationError(
                f"key is a {type(key).__name__}; give bytes, such as key=b'...'"
            )
        if "hash" in (strategy, *chosen.values()) and not key:
            raise ConfigurationError(
                "the strategy 'hash' needs key=...; without one the values could be guessed"
            )
        if not 0 <= threshold <= 1:
            raise ConfigurationError(f"threshold is {threshold}; give a score from 0 to 1")
        if stray := set(chosen) - set(self.entities):
            raise ConfigurationError(
                f"a strategy is given for {', '.join(sorted(stray))}, which is not looked for"
            )
        _ = self.detector

    @cached_property
    def detector(self) -> Detector:
        """What finds the entities."""
        if self.recognizers:
            return Detector(self.entities, recognizers=self.recognizers, threshold=self.threshold)
        return detector_of(self.entities, self.threshold)

    def warm_up(self) -> None:
        """Load the recognizers."""
        self.detector.warm_up()

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Clean what goes in, what comes out, and what is raised."""
        cleaned = call.replace(input=await self._clean(call, call.input))
        try:
            result = await handler(cleaned)
        except Exception as error:
            found: Counter[str] = Counter()
            rewrite_error(error, self._rewriter(found))
            self._tell(call, found)
            raise
        return await self._clean(call, result)

    async def _clean(self, call: Call, value: Any) -> Any:
        found: Counter[str] = Counter()
        cleaned = rewrite(value, self._rewriter(found))
        self._tell(call, found)
        if blocked := [entity for entity in found if self._strategy_of(entity) == "block"]:
            await call.refuse(ContentBlocked(blocked, policy=type(self).__name__))
        return cleaned

    def _tell(self, call: Call, found: Counter[str]) -> None:
        if found:
            call.emit("content_found", policy=type(self).__name__, found=dict(found))

    def _rewriter(self, found: Counter[str]) -> Callable[[str], str]:
        def change(text: str) -> str:
            for round in range(_ROUNDS):
                findings = self.detector.find(text)
                if not findings:
                    break
                found.update(finding.entity for finding in findings)
                text = self._replaced(text, findings, by_name=round > 0)
            return text

        return change

    def _replaced(self, text: str, findings: Sequence[Finding], *, by_name: bool) -> str:
        at, parts = 0, list[str]()
        for finding in findings:
            value = text[finding.start : finding.end]
            stand_in = f"[{finding.entity}]" if by_name else self._stand_in(finding.entity, value)
            parts += [text[at : finding.start], stand_in]
            at = finding.end
        return "".join((*parts, text[at:]))

    def _strategy_of(self, entity: str) -> Strategy:
        return self.strategies.get(entity, self.strategy)

    def _stand_in(self, entity: str, value: str) -> str:
        match self._strategy_of(entity):
            case "mask":
                return "*" * max(len(value) - 4, 4) + (value[-4:] if len(value) > 4 else "")
            case "hash":
                digest = hmac.new(self.key or b"", value.encode(), hashlib.sha256).hexdigest()[:16]
                return f"[{entity}:{digest}]"
            case _:
                return f"[{entity}]"
