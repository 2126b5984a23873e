"""E-mail addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_letters, digits

from lg_prod_nodes.detectors.recognizers.checked import (
    CERTAIN,
    CheckedRecognizer,
    Span,
    before,
    char_at,
    is_escape,
    is_word,
)
from lg_prod_nodes.detectors.recognizers.hosts import (
    PRIVATE_ENDINGS,
    is_top_level,
    top_level_domains,
)

_PRIVATE = 0.7

_LOCAL = 64
_LOCAL_MARKS = frozenset(".%+-'&")
_LOCAL_ASCII = f"{ascii_letters}{digits}_{''.join(sorted(_LOCAL_MARKS))}"
_DOMAIN = re.compile(r"[^\W_](?:[\w-]{0,62}[^\W_])?(?:\.[^\W_](?:[\w-]{0,62}[^\W_])?){0,8}")
_ASCII_LABEL = re.compile(r"[A-Za-z0-9-]+")
_LAST_OF_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")
_USER_OF_A_URL = re.compile(r"://[^\s/?#@]*$")
_BEFORE_A_PASSWORD = frozenset(":/$!#=*^(){}|~")
_REPOSITORY = re.compile(r"[:/][A-Za-z0-9~]")


class EmailAddresses(CheckedRecognizer):
    """E-mail addresses at public hosts, and at hosts such as `corp.internal` and `localhost`."""

    ENTITY = "EMAIL_ADDRESS"
    GATES = (r"[^ \t\r\n@]@[^ \t\r\n@.]",)

    def __init__(self) -> None:
        super().__init__()
        top_level_domains()  # loading takes longer than a search may

    def find(self, text: str) -> Iterator[Span]:
        """The addresses around each at sign."""
        at = text.find("@")
        while at >= 0:
            start, end = _local_start(text, at), at + 1
            if start < at and (found := _domain(text, end)):
                end, score = found
                if not _is_of_a_url(text, start, at, end):
                    yield Span(start, end, score)
            at = text.find("@", end)


def _local_start(text: str, at: int) -> int:
    least = max(0, at - _LOCAL)
    start = least + len(text[least:at].rstrip(_LOCAL_ASCII))
    while start > least and _is_local(text[start - 1]):
        start -= 1
    if is_escape(text, start + 1):
        start += 1
    elif text[start - 1 : start] == "\\" and _LAST_OF_ESCAPE.match(text, start - 1):
        start += 5
    while start < at and text[start] in _LOCAL_MARKS and text[start] != "+":
        start += 1
    return start


def _is_local(char: str) -> bool:
    return char in _LOCAL_MARKS or is_word(char)


def _domain(text: str, start: int) -> tuple[int, float] | None:
    """The end and score of a host that starts here: the longest one that ends in a known suffix."""
    found = _DOMAIN.match(text, start, start + 253)
    if not found:
        return None
    name = found[0]
    while name:
        head, _, label = name.rpartition(".")
        if not label.isascii() and not is_top_level(label):  # a language written without spaces
            label = (_ASCII_LABEL.match(label) or [""])[0]
        ending = f"{head}.{label}" if head else label
        if head and is_top_level(label):
            return start + len(ending), CERTAIN
        if label.lower() in PRIVATE_ENDINGS and (head or label.lower() == "localhost"):
            return start + len(ending), _PRIVATE
        name = head
    return None


def _is_of_a_url(text: str, start: int, at: int, end: int) -> bool:
    """Whether this is a URL's password, a variable, or a repository's user, as in `git@example.com:team/project`."""
    if text[start:at] == "git" and _REPOSITORY.match(text, end):
        return True
    return char_at(text, start - 1) in _BEFORE_A_PASSWORD and (
        char_at(text, start - 1) == "$" or bool(_USER_OF_A_URL.search(before(text, start, 96)))
    )
