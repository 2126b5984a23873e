"""Replaces findings in texts and in streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

from lg_prod_nodes.content.finality import Reach, SettledStream
from lg_prod_nodes.content.location import JsonKeys, Keys, may_be_json
from lg_prod_nodes.detectors.detector import Finding
from lg_prod_nodes.detectors.plain import PlainText
from lg_prod_nodes.detectors.reading.views import ReadReach, as_read

Find = Callable[[str], Sequence[Finding]]
StandIn = Callable[[str, str, Keys], str]
"""Returns the replacement for an entity's value under some keys; the value itself if it stays."""
Decides = Callable[[str, Keys], bool]
"""Decides for an entity under some keys."""

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
        shared: Tells what a name stands for, if it stands for several values.
        is_located: Whether it matters where a text is.

    Attributes:
        found: How often each entity was found.
        blocked: How often each blocking entity was found.
    """

    def __init__(
        self,
        find: Find,
        stand_in: StandIn,
        reach: Reach,
        blocks: Decides,
        plain: PlainText | None = None,
        *,
        shared: Callable[[str], str | None] = lambda name: None,
        is_located: bool = False,
    ) -> None:
        self.found: dict[str, int] = {}
        self.blocked: dict[str, int] = {}
        self.is_located = is_located
        self._find = find
        self._stand_in = stand_in
        self._reach = reach
        self._blocks = blocks
        self._plain = plain
        self.shared = shared
        self._keys: Keys = ()

    def at(self, keys: Keys) -> Self:
        """This replacer for texts under these keys, with the same counts."""
        if not (self.is_located and keys):
            return self
        there = copy(self)
        there._keys = (*self._keys, *keys)
        return there

    def change(
        self, text: str, before: str = "", became: str = "", json: JsonKeys | None = None
    ) -> str:
        """The text with findings replaced, given the text before it, what that became, and its place in JSON.

        It is searched again, since a replacement may have exposed something.
        """
        context = before
        for round in range(_ROUNDS):
            findings = self._after(context, text)
            changed = self._replaced(text, findings, json, by_name=round > 0) if findings else text
            if changed == text and context == became:
                break
            text, context = changed, became
        return text

    def __call__(self, text: str) -> str:
        """The text with findings replaced."""
        return self.change(text)

    def stream(self) -> SettledStream:
        """A filter for one text that leaves piece by piece."""
        if self.is_located:
            return SettledStream(
                ReadReach(self._reach), _Located(self).piece, lambda text: False, as_read
            )
        is_plain = self._plain.stream() if self._plain is not None else None

        def stays(text: str) -> bool:
            return is_plain is not None and is_plain(text) and not self.blocked

        return SettledStream(ReadReach(self._reach), self.piece, stays, as_read)

    def settled(self, text: str) -> int:
        """How many characters of a text are final, whatever follows."""
        return ReadReach(self._reach).settled(text)

    def opens(self, text: str) -> bool:
        """Whether the end of a text looks like the start of an entity."""
        return ReadReach(self._reach).opens(text)

    def take(self) -> dict[str, int]:
        """The counts since the last call."""
        found = dict(self.found)
        self.found.clear()
        return found

    def piece(self, text: str, before: str, became: str, json: JsonKeys | None = None) -> str:
        """A piece of a stream with findings replaced; nothing after a blocked entity."""
        changed = self.change(text, before, became, json)
        return "" if self.blocked else changed

    def _after(self, context: str, text: str) -> Sequence[Finding]:
        if not context:
            return self._find(text)
        skipped = len(context)
        return [
            Finding(max(f.start - skipped, 0), f.end - skipped, f.entity, f.score)
            for f in self._find(context + text)
            if f.end > skipped
        ]

    def _replaced(
        self, text: str, findings: Sequence[Finding], json: JsonKeys | None, *, by_name: bool
    ) -> str:
        at, parts, reader = 0, list[str](), self._reader(json)
        for finding in findings:
            value, keys = text[finding.start : finding.end], self._keys
            if reader is not None:
                reader.feed(text[at : finding.start])
                keys += reader.keys
                reader.feed(value)
            stand_in = self._stand_in(finding.entity, value, keys)
            if stand_in != value:
                self._count(finding.entity, keys)
                stand_in = f"[{finding.entity}]" if by_name else stand_in
            parts += (text[at : finding.start], stand_in)
            at = finding.end
        return "".join((*parts, text[at:]))

    def _reader(self, json: JsonKeys | None) -> JsonKeys | None:
        if not (self.is_located and may_be_json(self._keys)):
            return None
        return JsonKeys() if json is None else json.copy()

    def _count(self, entity: str, keys: Keys) -> None:
        self.found[entity] = self.found.get(entity, 0) + 1
        if self._blocks(entity, keys):
            self.blocked[entity] = self.blocked.get(entity, 0) + 1


class _Located:
    """The pieces of one streamed text, with their place in its JSON."""

    def __init__(self, replacer: Replacer) -> None:
        self._replacer = replacer
        self._json = JsonKeys()

    def piece(self, text: str, before: str, became: str) -> str:
        """The next piece with findings replaced."""
        changed = self._replacer.piece(text, before, became, self._json)
        self._json.feed(text)
        return changed
