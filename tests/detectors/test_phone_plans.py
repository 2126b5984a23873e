"""Numbers of countries' plans: what `phonenumbers` says of them."""

from __future__ import annotations

import phonenumbers
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata, PhoneNumber

from lg_prod_nodes.detectors.recognizers.phone_plans import (
    _REGIONS,
    is_possible,
    is_valid,
    is_valid_somewhere,
)


def national(number: str) -> str:
    lengths = (at for at in (1, 2, 3) if int(number[:at]) in COUNTRY_CODE_TO_REGION_CODE)
    return number[next(lengths) :]


EXAMPLES = [
    phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
    for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    for kind in range(11)
    if (number := phonenumbers.example_number_for_type(region, kind))
]
NATIONAL = list(map(national, EXAMPLES))
CODES = sorted(map(str, COUNTRY_CODE_TO_REGION_CODE))
digits = st.text("0123456789", min_size=1, max_size=14)


def changed(number: str) -> st.SearchStrategy[str]:
    place = st.integers(0, len(number) - 1)
    return st.builds(
        lambda at, digit: number[:at] + digit + number[at + 1 :],
        place,
        st.sampled_from("0123456789"),
    )


examples = st.sampled_from(EXAMPLES).flatmap(changed)
international = (
    examples
    | st.builds(str.__add__, st.sampled_from(CODES), digits)
    | st.builds(
        "{}{}{}".format,
        st.sampled_from(["1", "7", "39", "44", "54", "55"]),
        st.sampled_from("01"),
        digits,
    )
)
dialled = st.builds(
    str.__add__,
    st.sampled_from(["", "0", "00", "000", "1", "8", "06"]),
    st.sampled_from(NATIONAL).flatmap(changed) | digits,
).filter(lambda number: 8 <= len(number) <= 12)


@given(international)
@example("12125550142")
@example("4402079460958")
@example("390612345678")
@example("0049301234567")
@example("999123456")
def test_international_numbers_are_those_of_phonenumbers(number: str) -> None:
    try:
        parsed = phonenumbers.parse(f"+{number}")
    except phonenumbers.NumberParseException:
        assert not is_valid(number)
        assert not is_possible(number)
        return

    assert is_valid(number) == phonenumbers.is_valid_number(parsed)
    reason = phonenumbers.is_possible_number_with_reason(parsed)
    assert is_possible(number) == (reason == phonenumbers.ValidationResult.IS_POSSIBLE)


def test_examples_of_every_country_are_valid() -> None:
    assert all(map(is_valid, EXAMPLES))


@given(dialled)
@example("0612345678")
@example("0012345678")
@example("02079460958")
def test_national_numbers_are_those_of_phonenumbers(number: str) -> None:
    assert is_valid_somewhere(number) == any(is_of(region, number) for region in _REGIONS)


def is_of(region: str, number: str) -> bool:
    known = PhoneMetadata.metadata_for_region(region)
    assert known
    number = number.removeprefix(known.national_prefix or "")
    form = known.general_desc.national_number_pattern
    if not phonenumbers.re_util.fullmatch(phonenumbers.phonenumberutil.re_compile(form), number):
        return False
    parsed = PhoneNumber(
        country_code=known.country_code,
        national_number=int(number),
        italian_leading_zero=number.startswith("0") or None,
    )
    return phonenumbers.is_valid_number_for_region(parsed, region)
