"""Web addresses: with a scheme, with `www.`, and bare hosts that have no other explanation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lg_prod_nodes.detectors.recognizers.checked import (
    CERTAIN,
    CheckedRecognizer,
    Span,
    before,
    char_at,
    ends_apart,
    is_escape,
    starts_apart,
    words,
)
from lg_prod_nodes.detectors.recognizers.hosts import is_top_level, public_suffixes

_BARE = 0.6

_UNSPACED = "\u0e00-\u0e7f\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Scripts written without spaces: text in them ends a URL."""

_LABEL = r"[A-Za-z0-9][A-Za-z0-9-]{0,62}"
_SCHEME = r"(?:[Hh][Tt][Tt][Pp][Ss]?|HTTPS?|[Ff][Tt][Pp][Ss]?|sftp|wss?)"
_START = re.compile(rf"(?P<scheme>{_SCHEME}://)|(?<![A-Za-z0-9-]){_LABEL}(?:\.{_LABEL}){{1,8}}")
_AUTHORITY = re.compile(
    r"(?:[^\s/?#@,;\"'<>\\|^`{}\[\]]{0,128}@)?"
    rf"(?:\[[0-9A-Fa-f:.%]{{2,64}}\]|[^\W_{_UNSPACED}](?:[^\W{_UNSPACED}]|-|\.(?=[\w-]))*)"
    r"(?::[0-9]{1,5})?"
)
_PORT = re.compile(r":[0-9]{2,5}(?![0-9A-Za-z])")
_PART = re.compile(rf"[^\s\"'<>\\|^`{{}}\],;\x00-\x20{_UNSPACED}]*")

_TRAILING = frozenset(".,;:!?*_~'")
_BRACKETS = {")": "(", "]": "["}
_NEXT_CELL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,9}://|[^,/?\s]{1,64}@")
"""What ends a URL at a comma: the next cell of a table."""
_NUMBER_OR_PARAMETER = re.compile(r"[0-9-]|[a-z]{1,20}=")

_GLUED_BEFORE = frozenset("@/.-$%&#~+\\")
_GLUED_AFTER = frozenset("@([_=+-")

_FILE_ENDINGS = words(
    """
    ai app bar bin bz cab cc docs java map md mk ml mm mov mp pl pm properties ps pt py rs sh so tf ws zip
    """
)
"""Top-level domains that are also file extensions."""

_USUAL = words(
    """
    com org net edu gov mil io ai co biz info dev app xyz tech cloud online site website club agency studio
    academy solutions digital blog shop store ac ar au bg ca ch ci cl cn cy cz de dk ec ee es eu fi fr gr hk hu
    ie il ir jp ke kr kz lu lv ly ma mx ng nl nz pe ph ro ru se sg si sk th tr tv tw ua uk uy uz vn za
    """
)
"""Top-level domains that suffice for a bare host; others need a path, `www.`, a port or a word before."""

_SURE = frozenset(["com", "org", "edu", "gov"])

_IDENTIFIERS = words(
    """
    account action angular app args array attr attrs axios build cache card client clock cls col column company
    conf config configuration console cpu ctx customer data date datetime db debug dev device df doc document e
    el elem element entry env err error event evt ex file filter fn foo form friend fs func function history
    http i18n img index input instance item items job json key kwargs lang lib list locale log logger logging
    main map match math matplotlib member message messages meta model models module msg name net new node np obj
    object op options opts order os output package page params parent parser path pd person pinia player plt
    post process product profile props proxy query re record redux ref req request res resource resp response
    result results root router row rows s self server service session setting settings sql src state status
    store str string strings super sys system t table target task team test tf this tmp token torch translations
    tree url user users util utils val value values var vuex window x y
    """
)
"""First labels that suggest an attribute in code."""

_OBJECTS = words(
    """
    args axios cls console ctx df document e el event evt fn foo kwargs logger logging math matplotlib module np
    obj object os params pd plt process props re req request res resp response row self session settings state
    super sys this torch user util utils window
    """
)
"""Those of them that never name a machine."""

_FILES = words(
    """
    archive backup banner deploy design draft final icon image images index logo main model notes photo poster readme
    report test vector
    """
)
"""First labels that suggest a file name."""

_PACKAGES = words("com org io net edu gov java javax kotlin scala android androidx")
"""First labels of package names, which are hosts in reverse."""

_FRAMEWORKS = frozenset(["ado.net", "asp.net", "java.io", "java.net", "ml.net", "vb.net"])

_WORD_BEFORE = re.compile(
    r"\b(?:visit|web ?sites?|site|homepage|domain|subdomain|ur[li]|link|browse to|hosted (?:at|on)|go to)\b"
    r"[^\n.;!?]{0,12}$",
    re.IGNORECASE,
)


class Urls(CheckedRecognizer):
    """URLs without surrounding quotes, brackets and punctuation; not file names, attributes or versions."""

    ENTITY = "URL"
    GATES = (r"://[^ \t\r\n/]", r"[A-Za-z0-9-]\.[A-Za-z]{2}", r"\.xn-{2}")

    def find(self, text: str) -> Iterator[Span]:
        """The URLs with a scheme, and the hosts without."""
        at = 0
        while found := _START.search(text, at):
            span = _with_scheme(text, found) if found["scheme"] else _bare(text, found)
            if span:
                yield span
            at = span.end if span else found.end()


def _with_scheme(text: str, found: re.Match[str]) -> Span | None:
    host = _AUTHORITY.match(text, found.end(), found.end() + 400)
    return Span(found.start(), _end(text, host.end()), CERTAIN) if host else None


def _bare(text: str, found: re.Match[str]) -> Span | None:
    start, end = found.span()
    if is_escape(text, start + 1):
        start += 1
    labels = text[start:end].split(".")
    while len(labels) > 2 and labels[-1].istitle() and labels[-2] in _USUAL:
        end -= len(labels.pop()) + 1  # the next sentence, without a space before it
    if not _stands_apart(text, start, found.end()):
        return None
    port = _PORT.match(text, end)
    host_end = port.end() if port else end
    url_end = _end(text, host_end)
    is_line = port is not None and labels[-1].lower() in _FILE_ENDINGS
    more = url_end > host_end + (len(labels) < 3) or (port is not None and not is_line)
    if not _is_host(labels, has_more=more, before=before(text, start, 48)):
        return None
    return Span(start, url_end, _BARE)


def _end(text: str, at: int) -> int:
    """Where a URL ends whose host ends here."""
    if char_at(text, at) not in ("/", "?", "#"):
        return at
    end, is_open = at, False
    while True:
        part = _PART.match(text, end)
        end = part.end() if part else end
        is_open = is_open or bool(part and ("?" in part[0] or "/@" in part[0]))
        if not _continues(text, end, is_open=is_open):
            return _trimmed(text, at, end)
        end += 1


def _continues(text: str, at: int, *, is_open: bool) -> bool:
    """Whether a mark that could end a URL belongs to it."""
    mark = char_at(text, at)
    if mark == "]":
        return not text.startswith("](", at)
    if mark not in (",", ";") or _NEXT_CELL.match(text, at + 1):
        return False
    return is_open or bool(_NUMBER_OR_PARAMETER.match(text, at + 1))


def _trimmed(text: str, at: int, end: int) -> int:
    opened = {closing: text.count(opening, at, end) for closing, opening in _BRACKETS.items()}
    closed = {closing: text.count(closing, at, end) for closing in _BRACKETS}
    while end > at:
        last = text[end - 1]
        if last in _BRACKETS and closed[last] > opened[last]:
            closed[last] -= 1
        elif last not in _TRAILING:
            break
        end -= 1
    return end


def _stands_apart(text: str, start: int, end: int) -> bool:
    if char_at(text, start - 1) in _GLUED_BEFORE or char_at(text, end) in _GLUED_AFTER:
        return False
    if char_at(text, end) == "." and char_at(text, end + 1).isalnum():
        return False
    return starts_apart(text, start) and ends_apart(text, end)


def _is_host(labels: list[str], *, has_more: bool, before: str) -> bool:
    """Whether the labels are those of a host, not of a file name, an attribute, a package or a version."""
    low = [label.lower() for label in labels]
    if not is_top_level(low[-1]) or any(label.endswith("-") for label in labels):
        return False
    if not (labels[-1].islower() or all(label == label.upper() for label in labels)):
        return False  # `Socket.IO`, `System.Net`
    if ".".join(low) in _FRAMEWORKS or (
        low[0] in _PACKAGES and low[-1] not in ("com", "org", "net")
    ):
        return False
    if low[0] == "www":
        return len(labels) > 2
    if low[-2].isdigit() and low[-1] not in ("com", "net", "org", "cn"):
        return False
    if len(low) > 2 and ".".join(low[-2:]) in public_suffixes():
        return True
    if has_more:
        return low[0] not in _OBJECTS
    if _WORD_BEFORE.search(before) and low[-1] not in _FILE_ENDINGS:
        return not _is_attribute(low)
    return low[-1] in _SURE or (low[-1] in _USUAL and _is_usual(labels, low))


def _is_attribute(low: list[str]) -> bool:
    return low[0] in _OBJECTS or (len(low) == 2 and low[0] in _IDENTIFIERS and low[-1] not in _SURE)


def _is_usual(labels: list[str], low: list[str]) -> bool:
    if _is_attribute(low) or (len(low) > 2 and low[-2] in _IDENTIFIERS) or len(low[-2]) < 2:
        return False
    if any(label != label.lower() for label in labels) and labels[0][1:] != low[0][1:]:
        return False  # camelCase
    if low[-1] not in _FILE_ENDINGS:
        return True
    return labels == low and (len(low) > 2 or (low[-1] != "app" and low[0] not in _FILES))
