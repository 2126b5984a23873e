"""Phone numbers, as Presidio's `PhoneRecognizer` finds them.

Presidio runs the `phonenumbers` matcher over the text once per region. Here the text is searched for candidates once.
google-re2 then selects the regions in which a candidate's digits can be a number, and only these parse it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import re2
from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    Leniency,
    PhoneMetadata,
    PhoneNumberMatcher,
    country_code_for_region,
    phonenumbermatcher,
    phonenumberutil,
    region_code_for_country_code,
)

from lg_prod_nodes.detectors.scan.deadline import Deadline
from lg_prod_nodes.detectors.scan.patterns import re2_options

_LEAST_DIGITS = 4
"""The digits of the shortest number that is valid anywhere; some shorter ones are possible."""

_CANDIDATE = phonenumbermatcher._PATTERN  # pyright: ignore[reportPrivateUsage]
_SECOND_NUMBER = phonenumberutil._SECOND_NUMBER_START_PATTERN  # pyright: ignore[reportPrivateUsage]
_format_of = phonenumberutil._choose_formatting_pattern_for_number  # pyright: ignore[reportPrivateUsage]
_starts_with_number = phonenumberutil._formatting_rule_has_first_group_only  # pyright: ignore[reportPrivateUsage]
_PLAIN = re.compile(r"[-0-9. ()\[\]/~]*")
_NOT_DIGITS = re.compile(r"[^0-9]+")
_INTERNATIONAL = re.compile(r"[(\[ ]*\+")
_SUFFIX_RULES = (r"\1", r"\2", r"\3")
_Key = tuple[str, str, str]
"""A possible number, and the characters on both sides of it."""

_KINDS = (
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
)


class _Attempt(NamedTuple):
    """A part of a text that may be a number.

    Attributes:
        regions: The regions in which its digits can be a number.
    """

    start: int
    candidate: str
    regions: frozenset[str]

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + len(self.candidate)


class _Candidate(NamedTuple):
    """A text that looks like a number, and its parts that may be one, starting with the whole."""

    start: int
    end: int
    attempts: list[_Attempt]

    def is_whole(self, attempt: _Attempt) -> bool:
        """Whether a part is the whole candidate."""
        return attempt.start == self.start and attempt.end == self.end


def needed(leniency: int) -> tuple[str, ...]:
    """What re2 finds in every text with a number: digits at most four other characters apart."""
    more = _LEAST_DIGITS - 1 if leniency >= Leniency.VALID else 0
    return (rf"[0-9\x81](?:[\x80-\x87\-x ()./~\[\]]{{0,4}}[0-9\x81]){{{more}}}",)


def spans(
    text: str, regions: Sequence[str], leniency: int, deadline: Deadline
) -> Iterator[tuple[int, int]]:
    """The spans in which `phonenumbers.PhoneNumberMatcher` finds a number of one of the regions.

    Raises:
        OutOfTime: The time is up.
    """
    candidates = _Candidates(text, tuple(regions), leniency)
    international: dict[_Key, bool] = {}
    judges = {region: _Judge(text, region, leniency, international) for region in regions}
    positions = dict.fromkeys(judges, 0)
    while positions:
        deadline.left()
        at = min(positions.values())
        here = [region for region, position in positions.items() if position == at]
        candidate = candidates.after(at)
        if candidate is None:
            for region in here:
                del positions[region]
            continue
        for region, found in _numbers_of(candidate, here, judges):
            positions[region] = found.end if found else candidate.end
            if found:
                yield found.start, found.end


def _numbers_of(
    candidate: _Candidate, regions: list[str], judges: Mapping[str, _Judge]
) -> Iterator[tuple[str, _Attempt | None]]:
    """For each region, the first part of a candidate that is a number."""
    is_known = False
    for region in regions:
        possible = [attempt for attempt in candidate.attempts if region in attempt.regions]
        if is_known and all(map(candidate.is_whole, possible)):
            yield region, None  # this region can add nothing
            continue
        found = next(filter(judges[region].takes, possible), None)
        is_known |= found is not None and candidate.is_whole(found)
        yield region, found


class _Candidates(PhoneNumberMatcher):
    """What the matcher would try to parse, for all regions."""

    def __init__(self, text: str, regions: tuple[str, ...], leniency: int) -> None:
        super().__init__(text, None, leniency=leniency, max_tries=sys.maxsize)
        self._regions, self._all = regions, frozenset(regions)
        self._tried: list[_Attempt] = []

    def after(self, index: int) -> _Candidate | None:
        """The next candidate with a part that may be a number."""
        while match := _CANDIDATE.search(self.text, index):
            start = match.start()
            text = self._trim_after_first_match(_SECOND_NUMBER, match[0])
            self._tried = []
            self._extract_match(text, start)
            index = start + len(text)
            if self._tried:
                return _Candidate(start, index, self._tried)
        return None

    def _parse_and_verify(self, candidate: str, offset: int) -> None:
        if regions := self._possible(candidate):
            self._tried.append(_Attempt(offset, candidate, regions))

    def _possible(self, candidate: str) -> frozenset[str]:
        if self.leniency < Leniency.VALID:
            return self._all
        if sum(map(str.isdecimal, candidate)) < _LEAST_DIGITS:
            return frozenset()
        if not _PLAIN.fullmatch(candidate):
            return self._all
        found = _by_digits(self._regions).Match(_NOT_DIGITS.sub("", candidate).encode())
        # If re2 runs out of memory, it finds nothing, not even that these are digits.
        if not found:
            return self._all
        return frozenset(self._regions[at - 1] for at in found if at)


class _Judge(PhoneNumberMatcher):
    """A region's matcher, reduced to its verdict."""

    def __init__(
        self, text: str, region: str, leniency: int, international: dict[_Key, bool]
    ) -> None:
        super().__init__(text, region, leniency=leniency)
        self._region = region
        self._international = international
        self._national: dict[_Key, bool] = {}

    def takes(self, attempt: _Attempt) -> bool:
        """Whether an attempt is a number of the region."""
        start, candidate, _ = attempt
        key = candidate, self.text[start - 1 : start], self.text[attempt.end : attempt.end + 1]
        known = self._international if _names_its_country(candidate) else self._national
        if key not in known:
            known[key] = (
                not self._lacks_prefix(candidate)
                and self._parse_and_verify(candidate, start) is not None
            )
        return known[key]

    def _lacks_prefix(self, candidate: str) -> bool:
        """Whether a national number lacks its required prefix, decided without parsing it."""
        if self.leniency < Leniency.VALID or not _PLAIN.fullmatch(candidate):
            return False
        digits = _NOT_DIGITS.sub("", candidate)
        return not _prefixes(self._region).match(digits) and _needs_prefix(self._region, digits)


def _names_its_country(candidate: str) -> bool:
    """Whether a number is the same in all regions."""
    if not candidate.isascii() or not _INTERNATIONAL.match(candidate):
        return False
    digits = _NOT_DIGITS.sub("", candidate)
    return digits[:1] != "0" and any(
        int(digits[:length]) in COUNTRY_CODE_TO_REGION_CODE for length in (1, 2, 3)
    )


@cache
def _prefixes(region: str) -> re.Pattern[str]:
    """The prefixes dialled before a region's numbers."""
    metadata = PhoneMetadata.metadata_for_region(region)
    if metadata is None:
        return re.compile("")
    ways = (
        metadata.national_prefix_for_parsing,
        str(metadata.country_code),
        metadata.international_prefix,
    )
    return re.compile("|".join(f"(?:{way})" for way in ways if way))


def _needs_prefix(region: str, digits: str) -> bool:
    """Whether a national number is always written with a prefix."""
    main = region_code_for_country_code(country_code_for_region(region))
    metadata = PhoneMetadata.metadata_for_region(main)
    chosen = _format_of(metadata.number_format, digits) if metadata else None
    rule = chosen.national_prefix_formatting_rule if chosen else None
    if chosen is None or not rule or chosen.national_prefix_optional_when_formatting:
        return False
    return not _starts_with_number(rule)


@cache
def _by_digits(regions: tuple[str, ...]) -> Any:
    """The set that selects the regions in which digits can be a number."""
    made = re2.Set.FullMatchSet(re2_options())
    made.Add(rb"\d*")
    for region in regions:
        made.Add(_digits(region).encode())
    made.Compile()
    return made


def _digits(region: str) -> str:
    """A pattern for the digits of a region's numbers as written within it; it may match more, never less."""
    metadata = PhoneMetadata.metadata_for_region(region)
    if metadata is None:
        return r"\d*"
    rule = metadata.national_prefix_transform_rule
    if rule and rule not in _SUFFIX_RULES:
        return r"\d*"
    if rule:
        start = r"\d*"
    else:
        prefix = metadata.national_prefix_for_parsing or ""
        start = f"(?:{metadata.country_code})?(?:{prefix}){{0,2}}"
    return rf"{start}(?:{_national(metadata.country_code)})|(?:{metadata.international_prefix})\d+"


def _national(country_code: int | None) -> str:
    """A pattern for the numbers of all regions that share a country code."""
    patterns: dict[str, None] = {}
    for region in COUNTRY_CODE_TO_REGION_CODE.get(country_code or 0, ()):
        metadata = PhoneMetadata.metadata_for_region(region)
        for kind in _KINDS if metadata else ():
            description = getattr(metadata, kind)
            if description is not None and description.national_number_pattern:
                patterns[description.national_number_pattern] = None
    return "|".join(patterns)
