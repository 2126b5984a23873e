"""What becomes of texts in which something was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from lg_prod_nodes.content.finality import Reach, SettledStream
from lg_prod_nodes.detectors.detector import Finding
from lg_prod_nodes.detectors.plain import PlainText
from lg_prod_nodes.detectors.reading.views import ReadReach, as_read

Find = Callable[[str], Sequence[Finding]]
StandIn = Callable[[str, str], str]
"""Gives what to put in the place of an entity's value."""

_ROUNDS = 5
"""How often a text is looked at again: what was replaced can lay open what stood beside it."""


class Replacer:
    """Puts a stand-in in the place of each finding, and counts what it found.

    As a filter it lets texts leave by other ways than a call's result, whole or piece by piece. Nothing of a text that
    leaves piece by piece follows what is blocked; whoever made the replacer asks it whether to refuse the call.

    Args:
        find: What stands where in a text.
        stand_in: What to put there.
        reach: How far what is looked for reaches.
        blocks: Whether an entity blocks the call that it is found in.
        plain: Tells pieces of a stream in which nothing can be found.

    Attributes:
        found: How often each entity was found.
        blocked: How often those were that block the call.
    """

    def __init__(
        self,
        find: Find,
        stand_in: StandIn,
        reach: Reach,
        blocks: Callable[[str], bool],
        plain: PlainText | None = None,
    ) -> None:
        self.found: Counter[str] = Counter()
        self.blocked: Counter[str] = Counter()
        self._find = find
        self._stand_in = stand_in
        self._reach = ReadReach(reach)
        self._blocks = blocks
        self._plain = plain

    def change(self, text: str, before: str = "", became: str = "") -> str:
        """The text with stand-ins, given what stood before it and what that became."""
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
        """The text as it may leave."""
        return self.change(text)

    def stream(self) -> SettledStream:
        """A text that leaves piece by piece."""
        is_plain = self._plain.stream() if self._plain is not None else None

        def stays(text: str) -> bool:
            return is_plain is not None and is_plain(text) and not self.blocked

        return SettledStream(self._reach, self._piece, stays, as_read)

    def settled(self, text: str) -> int:
        """How many characters of a text are settled, whatever follows."""
        return self._reach.settled(text)

    def opens(self, text: str) -> bool:
        """Whether the end of a text looks like the beginning of what is looked for."""
        return self._reach.opens(text)

    def take(self) -> dict[str, int]:
        """What was found since this was last asked."""
        found, self.found = dict(self.found), Counter()
        return found

    def _piece(self, text: str, before: str, became: str) -> str:
        changed = self.change(text, before, became)
        return "" if self.blocked else changed

    def _count(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self.found[finding.entity] += 1
            if self._blocks(finding.entity):
                self.blocked[finding.entity] += 1

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
