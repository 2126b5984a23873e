"""Replaces findings in texts and in streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lg_prod_nodes.content.finality import Reach, SettledStream
from lg_prod_nodes.detectors.detector import Finding
from lg_prod_nodes.detectors.plain import PlainText
from lg_prod_nodes.detectors.reading.views import ReadReach, as_read

Find = Callable[[str], Sequence[Finding]]
StandIn = Callable[[str, str], str]
"""Returns the replacement for an entity's value."""

_ROUNDS = 5
"""How often a text is searched again: a replacement can expose what stood beside it."""


class Replacer:
    """Replaces each finding and counts what it found.

    As a filter it also applies to texts that bypass a call's result, whole or piece by piece. In a stream, no text
    leaves after a blocked entity; the owner asks the replacer whether to refuse the call.

    Args:
        find: Finds entities in a text.
        stand_in: Returns the replacement.
        reach: How far the entities may extend.
        blocks: Whether an entity blocks the call.
        plain: Recognizes pieces of a stream that can hold no finding.

    Attributes:
        found: How often each entity was found.
        blocked: How often each blocking entity was found.
    """

    def __init__(
        self,
        find: Find,
        stand_in: StandIn,
        reach: Reach,
        blocks: Callable[[str], bool],
        plain: PlainText | None = None,
    ) -> None:
        self.found: dict[str, int] = {}
        self.blocked: dict[str, int] = {}
        self._find = find
        self._stand_in = stand_in
        self._reach = reach
        self._blocks = blocks
        self._plain = plain

    def change(self, text: str, before: str = "", became: str = "") -> str:
        """The text with findings replaced, given the text before it and what that became."""
        context = before
        for round in range(_ROUNDS):
            findings = self._after(context, text)
            if not findings and context == became:
                break
            self._count(findings)
            text = self._replaced(text, findings, by_name=round > 0)
            context = became
        return text

    def __call__(self, text: str) -> str:
        """The text with findings replaced."""
        return self.change(text)

    def stream(self) -> SettledStream:
        """A filter for one text that leaves piece by piece."""
        is_plain = self._plain.stream() if self._plain is not None else None

        def stays(text: str) -> bool:
            return is_plain is not None and is_plain(text) and not self.blocked

        return SettledStream(ReadReach(self._reach), self._piece, stays, as_read)

    def settled(self, text: str) -> int:
        """How many characters of a text are final, whatever follows."""
        return ReadReach(self._reach).settled(text)

    def opens(self, text: str) -> bool:
        """Whether the end of a text looks like the start of an entity."""
        return ReadReach(self._reach).opens(text)

    def take(self) -> dict[str, int]:
        """The counts since the last call."""
        found, self.found = self.found, {}
        return found

    def _piece(self, text: str, before: str, became: str) -> str:
        changed = self.change(text, before, became)
        return "" if self.blocked else changed

    def _count(self, findings: Sequence[Finding]) -> None:
        for entity in (finding.entity for finding in findings):
            self.found[entity] = self.found.get(entity, 0) + 1
            if self._blocks(entity):
                self.blocked[entity] = self.blocked.get(entity, 0) + 1

    def _after(self, context: str, text: str) -> Sequence[Finding]:
        if not context:
            return self._find(text)
        skipped = len(context)
        return [
            Finding(max(f.start - skipped, 0), f.end - skipped, f.entity, f.score)
            for f in self._find(context + text)
            if f.end > skipped
        ]

    def _replaced(self, text: str, findings: Sequence[Finding], *, by_name: bool) -> str:
        at, parts = 0, list[str]()
        for finding in findings:
            value = text[finding.start : finding.end]
            name = f"[{finding.entity}]"
            stand_in = name if by_name else self._stand_in(finding.entity, value)
            parts += [text[at : finding.start], stand_in]
            at = finding.end
        return "".join((*parts, text[at:]))
