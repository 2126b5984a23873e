"""IP and MAC addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from socket import AF_INET6, inet_pton

from lg_prod_nodes.detectors.recognizers.checked import (
    CERTAIN,
    CheckedRecognizer,
    NumberRecognizer,
    Span,
    before,
    char_at,
    is_word,
    line_before,
    starts_apart,
    without_last,
    words,
    words_before,
)
from lg_prod_nodes.detectors.recognizers.digits import Digits, by_shape

_SHAPE = 0.9

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_V4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}(?![0-9])")
_SHAPE_OF_V4 = re.compile(r"[0-9](?:\.[0-9]{1,3}){2}\.[0-9]")
_NETWORK = re.compile(r"/(?:3[0-2]|[12]?[0-9])(?![\w/]|\.[0-9])")
_RANGE = re.compile(rf"-(?:{_OCTET}\.{_OCTET}\.{_OCTET}\.)?{_OCTET}(?![\w.-])")
_END_OF_V4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}\s?-$")

_NUMBERED = words(
    """
    android annex apache appendix article bios build bump bumped chap chapter chapters chrome chromium clause debian
    downgrade downgraded driver extension fig figure firefox firmware fw hotfix ios java kernel kubernetes linux macos
    milestone oid openssl opera paragraph part patch pin pinned plugin python release releases req requirement requires
    rev revision rule safari schema sdk sec sect section sections since spec step steps table tag ubuntu update updated
    upgrade upgraded v ver version versions windows
    """
)
"""Words followed by versions, sections and the like."""
_AFTER_NUMBERED = words("and at from is no number of or to was")

_HOSTS = words(
    """
    addr address addresses allow ban banned bind block blocked bound client connect connected connection curl deny dest
    destination dns dst endpoint firewall for from gateway hits host hostname hosts http https inet ip ips ipv listen
    listening logged login machine nameserver network origin peer ping pinged proxy reach reached remote request
    requests resolver route router server source src ssh subnet switch telnet traceroute via visitor vpn whois
    """
)
"""Words followed by addresses, even ones that look like versions."""

_LISTED_BEFORE = re.compile(
    r"(?:[0-9]{1,5}(?:\.[0-9]{1,5}){1,4}\s{0,2}(?:,|and|or|to|->|→|through|until|/|&|vs\.?)\s{0,2}){1,4}$"
)
_COMPARED_BEFORE = re.compile(r"(?:[=~!<>^]=|[~^<>]|\w==|:[\w-]{1,24}:)\s?$")
_ENDS_OF_LISTED, _ENDS_OF_COMPARED = frozenset(",dro>→hl/&s."), frozenset("=~!<>^:")
"""The last characters of what these expressions match, but for white space."""
_PORT = re.compile(r":[0-9]{2,5}(?![0-9A-Za-z])")
_WELL_KNOWN = frozenset(["1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9"])
_SMALL = 20
"""Four numbers all below this limit are as likely a section or version as an address."""

_V6 = re.compile(
    r"(?:(?<![0-9A-Za-z_:])|(?<=\\[nrt]))(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)"
    rf"(?:[0-9A-Fa-f:]{{1,30}}:{_OCTET}(?:\.{_OCTET}){{3}}|[0-9A-Fa-f:]{{2,39}})(?:%[0-9A-Za-z]{{1,15}})?"
    r"(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])(?![\w/]))?"
)
_AFTER_GROUP = re.compile(r":(?=[0-9A-Fa-f]{0,4}:)")
_LEAST_COLONS = 6
_AFTER_ADDRESS = re.compile("[%/]")
_AFTER_V6 = re.compile(r"[0-9A-Za-z_]|:[0-9A-Fa-f:]|\.[0-9]")

_MAC = re.compile(
    r"(?<![0-9A-Za-z_:-])(?:[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})"
    r"|[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2})(?![0-9A-Za-z_]|[:-][0-9A-Fa-f]|\.[0-9A-Fa-f])"
)


class IpAddresses(NumberRecognizer):
    """IP addresses with their network size and zone; not versions, sections or times."""

    ENTITY = "IP_ADDRESS"
    GATES = (
        r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
        r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]",
    )

    def find_among(self, digits: Digits, text: str) -> Iterator[Span]:
        """The IPv4 and IPv6 addresses."""
        sixes = list(_v6(text)) if text.count(":") > 1 else []
        yield from sixes
        for first, last, _ in digits.judged(_may_hold_v4):
            for found in _V4.finditer(text, first, last):
                start, end = found.span()
                if any(six.start <= start < six.end for six in sixes) or _is_nobodys(found[0]):
                    continue
                if _is_bounded(text, start, end) and _is_address(text, start, end):
                    network = _NETWORK.match(text, end)
                    yield Span(start, network.end() if network else end, _SHAPE)


@by_shape
def _may_hold_v4(shape: str) -> bool:
    return _SHAPE_OF_V4.search(shape) is not None


class MacAddresses(CheckedRecognizer):
    """MAC addresses, but not parts of longer fingerprints."""

    ENTITY = "MAC_ADDRESS"
    GATES = (
        r"[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]",
        r"[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}",
    )

    def find(self, text: str) -> Iterator[Span]:
        """The addresses with colons, hyphens or dots."""
        for found in _MAC.finditer(text):
            digits = found[0].translate({ord(mark): None for mark in ":-."}).upper()
            if len(set(digits)) > 1 and not ("." in found[0] and digits.isdigit()):
                yield Span(*found.span(), CERTAIN)


def _is_nobodys(address: str) -> bool:
    """Whether an address identifies no machine: loopback, a network mask, broadcast or `0.0.0.0`."""
    return address.startswith(("127.", "255.")) or address == "0.0.0.0"


def _is_bounded(text: str, start: int, end: int) -> bool:
    """Whether no longer number, file name or version continues at either end."""
    previous, following = char_at(text, start - 1), char_at(text, end)
    if not starts_apart(text, start) or (previous and previous in ".#$€£"):
        return False
    if previous == "-" and not _END_OF_V4.search(before(text, start, 17)):
        return is_word(char_at(text, start - 2)) is False if start > 1 else True
    if previous == "/" and (char_at(text, start - 2).isalpha() or char_at(text, start - 2) in "_-"):
        return False  # `Chrome/98.0.47.58`
    if following == ".":
        return not char_at(text, end + 1).isalnum()
    if following == "-":
        return not is_word(char_at(text, end + 1)) or bool(_RANGE.match(text, end))
    return not (following and (is_word(following) or following == "+"))


def _is_address(text: str, start: int, end: int) -> bool:
    """Whether this is an address and not a version or section, by the text before it and its size."""
    at, context = start, before(text, start, 72)
    said = context.rstrip()[-1:]
    if said in _ENDS_OF_LISTED and "." in context and (listed := _LISTED_BEFORE.search(context)):
        at -= len(context) - listed.start()
    if _is_numbered(words_before(text, at)):
        return False
    if said in _ENDS_OF_COMPARED and _COMPARED_BEFORE.search(context[-28:]):
        return False
    address = text[start:end]
    if address in _WELL_KNOWN or address.startswith("10."):
        return True
    if any(int(part) >= _SMALL for part in address.split(".")):
        return True
    if _NETWORK.match(text, end) or _PORT.match(text, end) or text.strip() == address:
        return True
    return not _HOSTS.isdisjoint(line_before(text, at)[-6:])


def _is_numbered(said: list[str]) -> bool:
    if said and said[-1] in _NUMBERED:
        return True
    said = without_last(said, _AFTER_NUMBERED, 2)
    return bool(said) and said[-1] in _NUMBERED


def _v6(text: str) -> Iterator[Span]:
    for found in _all(text, _V6, _AFTER_GROUP, 4):
        address = found[0]
        if "::" not in address and address.count(":") < _LEAST_COLONS:
            continue
        while address and not _parses(address) and address[-1] in ":.":
            address = address[:-1]
        end = found.start() + len(address)
        if (
            _parses(address)
            and address.partition("/")[0].strip("0:") not in ("", "1")
            and not _AFTER_V6.match(text, end)
            and _is_distinct(text, found.start(), address)
        ):
            yield Span(found.start(), end, CERTAIN)


def _all(
    text: str, address: re.Pattern[str], mark: re.Pattern[str], reach: int
) -> Iterator[re.Match[str]]:
    """The matches of `address.finditer`, found faster by a mark that occurs within their first `reach` characters."""
    at = 0
    while marked := mark.search(text, at):
        first = marked.start()
        starts = range(max(at, first - reach), first + 1)
        found = next(filter(None, [address.match(text, start) for start in starts]), None)
        at = found.end() if found else first + 1
        if found:
            yield found


def _parses(address: str) -> bool:
    try:
        inet_pton(AF_INET6, _AFTER_ADDRESS.split(address, 1)[0])
    except (OSError, ValueError):
        return False
    return True


def _is_distinct(text: str, start: int, address: str) -> bool:
    """Whether this is not a slice, a C++ or Rust path, or a fingerprint."""
    if char_at(text, start - 1) == "[" and is_word(char_at(text, start - 2)):
        return False
    groups = [group for group in re.split(r"[:%/]", address) if group]
    if (
        not groups
        or not any(char.isdigit() for char in address)
        or all(len(g) == 2 for g in groups)
    ):
        return False
    return len(groups) > 2 or any(len(group) > 2 for group in groups)
