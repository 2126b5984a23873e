"""Whether digits fit a country's numbering plan.

The answers match those of `phonenumbers`, which tries one expression per kind of number. Here a single expression
covers all kinds of a region.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from phonenumbers import PhoneMetadata
    from phonenumbers.phonemetadata import PhoneNumberDesc

_REGIONS = (
    *("US", "GB", "DE", "FR", "IN", "BR", "IT", "ES", "NL", "PL", "SE", "CH", "AT", "BE", "IE", "AU", "NZ", "JP"),
    *("KR", "CN", "RU", "TR", "IL", "UA", "ZA", "MX", "PT", "GR", "CZ", "DK", "NO", "FI", "HU", "RO", "NG", "KE"),
    *("SG", "HK", "TW", "TH", "ID", "MY", "PH", "VN", "AE", "SA", "EG", "PK", "BD", "AR", "CL", "CO"),
)  # fmt: skip
"""The regions whose national form is known; with a plus, numbers of all regions are."""

_KINDS = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "voip", "personal_number", "pager", "uan"),
    "voicemail",
)  # fmt: skip


class _Plan:
    """The numbering plan of a region.

    Attributes:
        leading: The leading digits that set it apart from other regions with its country code, if any.
    """

    def __init__(self, metadata: PhoneMetadata) -> None:
        self.leading = re.compile(metadata.leading_digits) if metadata.leading_digits else None
        self._form = _of_kinds([metadata.general_desc])
        self._metadata = metadata

    def has(self, number: str) -> bool:
        """Whether a number without its trunk prefix belongs to the region."""
        if not self._form.fullmatch(number):
            return False
        return bool(self._kinds.fullmatch(number))

    def has_dialled(self, number: str) -> bool:
        """Like `has`, but ignores extra zeros at the start."""
        if not number.startswith("00"):
            return self.has(number)
        return bool(self._form.fullmatch(number)) and self.has("0" + number.lstrip("0"))

    @cached_property
    def _kinds(self) -> re.Pattern[str]:
        is_one = self._metadata.same_mobile_and_fixed_line_pattern
        kinds = [kind for kind in _KINDS if kind != "mobile" or not is_one]
        return _of_kinds(getattr(self._metadata, kind) for kind in kinds)


class _Country(NamedTuple):
    """The regions that share a country code."""

    prefix: re.Pattern[str] | None
    plans: tuple[_Plan, ...]

    def has(self, number: str) -> bool:
        """Whether a number is valid in the first region whose leading digits fit."""
        for plan in self.plans:
            if len(self.plans) == 1 or not plan.leading:
                if plan.has(number):
                    return True
            elif plan.leading.match(number):
                return plan.has(number)
        return False


def is_valid(digits: str) -> bool:
    """Whether digits with a country code are a number in use."""
    for length in (1, 2, 3) if digits[0] != "0" else ():
        if country := _country(int(digits[:length])):
            number = digits[length:]
            is_plain = len(number) > 1 and not (country.prefix and country.prefix.match(number))
            return country.has(number) if is_plain else _is_valid_when_parsed(digits)
    return False


def is_possible(digits: str) -> bool:
    """Whether digits with a country code have a possible length."""
    import phonenumbers

    try:
        parsed = phonenumbers.parse(f"+{digits}")
    except phonenumbers.NumberParseException:
        return False
    reason = phonenumbers.is_possible_number_with_reason(parsed)
    return reason == phonenumbers.ValidationResult.IS_POSSIBLE


def is_valid_somewhere(digits: str) -> bool:
    """Whether digits are a number as dialled within one of the regions."""
    for prefix, plans in _plans().items():
        number = digits.removeprefix(prefix)
        if any(plan.has_dialled(number) for plan in plans):
            return True
    return False


def _is_valid_when_parsed(digits: str) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(f"+{digits}"))
    except phonenumbers.NumberParseException:
        return False


@cache
def _country(code: int) -> _Country | None:
    import phonenumbers

    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code)
    if not regions:
        return None
    metadata_of = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code
    known = [metadata_of(code, region) for region in regions]
    prefix = known[0].national_prefix_for_parsing if known[0] else None
    return _Country(
        re.compile(prefix) if prefix else None,
        tuple(_Plan(metadata) for metadata in known if metadata),
    )


@cache
def _plans() -> dict[str, list[_Plan]]:
    """The plans of the known regions, by trunk prefix."""
    import phonenumbers

    plans: dict[str, list[_Plan]] = {}
    for region in _REGIONS:
        if metadata := phonenumbers.PhoneMetadata.metadata_for_region(region):
            plans.setdefault(metadata.national_prefix or "", []).append(_Plan(metadata))
    return plans


def _of_kinds(kinds: Iterable[PhoneNumberDesc | None]) -> re.Pattern[str]:
    """A pattern for whole numbers of these kinds."""
    ways = [_way(kind) for kind in kinds if kind and kind.national_number_pattern]
    return re.compile("|".join(dict.fromkeys(ways)) or "(?!)")


def _way(kind: PhoneNumberDesc) -> str:
    lengths = "|".join(f"[0-9]{{{length}}}" for length in kind.possible_length if length > 0)
    if not kind.possible_length:
        return f"(?:{kind.national_number_pattern})"
    return rf"(?=(?:{lengths})\Z)(?:{kind.national_number_pattern})" if lengths else "(?!)"
