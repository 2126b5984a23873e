"""Passwords and keys assigned to a name, as in `api_key = "..."`, and not code that merely mentions them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from lg_prod_nodes.detectors.reading.words import STOP_WORDS
from lg_prod_nodes.detectors.recognizers.checked import Span, before, char_at, places, words

_BY_NAME = 0.7

_STEM = re.compile(
    r"pass(?:word|wd|phrase|code|wort)?|pwd|contrase[nñ]a|mot[ _]de[ _]passe"
    r"|secret|token|jwt|credentials?|keys?",
    re.IGNORECASE,
)
"""The endings of names whose values are secrets; a number or `id` may follow."""
_LITERALS = (
    "pass",
    "pwd",
    "contrase",
    "mot ",
    "mot_",
    "secret",
    "token",
    "jwt",
    "credential",
    "key",
)
"""The beginnings of those endings."""
SIGN_GATE = (
    r"(?i:pass(?:word|wd|phrase|code|wort)?|pwd|contrase..|mot.de.passe|secret|token|jwt|credentials?|keys?)"
    r"(?:[ _.-]?(?:(?i:key|id|value)|[0-9]))?\\{0,3}[\"'`*]{0,2}\]?[ \t]{0,3}"
    r"(?:[:=>]|!=|(?i:is)[:\s]|,\s{0,2}[\"'])"
)
"""Matches any text in which a secret may be assigned."""
_PASSWORDS = ("pass", "pwd", "contrase", "mot")
_OF_A_KEY = re.compile(
    r"(?:api|access|secret|private|account|auth|encryption|signing|master|license|service|client|app|bot|webhook|shared"
    r"|subscription|storage|admin|ssh|deploy)[ _.-]?$",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(
    r"(?:page|next|cursor|csrf|xsrf|sync|continuation|max|min|stop|pad|eos|bos|num|total|public(?:[ _.-]?key)?|primary"
    r"|foreign|sort|partition|cache|by|change|request|idempotency|action|input|output)[ _.-]?$",
    re.IGNORECASE,
)
_SIGNER = re.compile(
    r"(?:X-(?:Amz|Goog|Oss)-|[?&]\w{1,10}Access|HMAC-SHA256\s{1,2})$", re.IGNORECASE
)
_ENDS_OF_SIGNERS = frozenset("-sS \t")
"""What precedes the `Credential` and `KeyId` of a signed request, which identify the signer."""
_SIGN = re.compile(
    r"(?:[ _.-]?(?:key|id|value|[0-9]))?\\{0,3}[\"'`*]{0,2}\]?[ \t]{0,3}"
    r"(?P<sign>:=|=>|={1,3}|!==?|:|\bis:?(?=\s)|,(?=\s{0,2}[\"'])|>)[ \t]{0,3}"
    r"(?:\s{0,3}(?P<escapes>\\{0,3})(?P<quote>[\"'`]))?",
    re.IGNORECASE,
)
_IS_ASSIGNED = re.compile(f"(?>{_STEM.pattern}){_SIGN.pattern}", re.IGNORECASE)
_LONGEST = 400
_TOKEN = re.compile(r"(?:[^\s\"'`<>\\]|\\(?![nrtu\"'\\/])){1,160}")
_MARKS = re.compile(r"[,;&|]")
_NEXT_NAME = re.compile(r"[,;&|]+\s{0,2}(?:[A-Za-z_][\w .-]{0,30}[=:]|$)")
_NEXT_SECRET = re.compile(r"\W{0,2}(?i:pass|pwd|secret|token|jwt|credential|key)\w{0,8}[:=]")
_NEXT_LINE = re.compile(
    r"\n[ \t]{0,8}(?=\S*[A-Za-z])(?=\S*[0-9])(?=\S*[!#$%&*@^?+])\S{6,64}(?=\s|$)"
)

STAND_IN = re.compile(
    r"\*{3}|•{3}|[xX]{4}|\.{3}|…|^[$%@#]?[{(\[]|[{$]\{|^\$[A-Za-z_]|^%[A-Za-z_]|^@[a-z]|^/[a-z]+/|^~/|^\.{1,2}/|://"
    r"|(?<![A-Za-z0-9])(?:your|my|the|some|insert|enter|here|todo|none|null|undefined)(?![A-Za-z0-9])"
    r"|^your|^my(?=[A-Z_-])|example|sample|dummy|placeholder|change_?me|replace|redacted|hidden|masked|removed"
    r"|environ|getenv|process\.env|secrets?\.|settings\.|config\.|vault\.|self\.|os\.",
    re.IGNORECASE,
)
"""Placeholders for a secret, and references to where it is stored."""
_PLAIN_WORDS = words(
    """
    access admin base64 basic bearer bool boolean bytes char credential default email empty encrypted expired false
    hashed hidden incorrect int integer invalid letmein missing none null number object optional pass passphrase passwd
    password plaintext private protected public refresh required secret secretstr secretstring securestring
    sessiontoken sha256 str string text token true undefined unknown username utf8 varchar wrong
    """
)
_IN_LABELS = words(
    """
    characters change confirm confirmation current digits enter field forgot hide incorrect invalid least
    letters long login match minimum must new old please repeat required reset show strong too use valid weak your
    """
)
"""Words in the labels and messages that programs show near a password field."""
_MARKS_AFTER = ".,;:?)]}&|"
_NAME = r"[A-Za-z_$][\w$]*"
_CALLED = (
    r"\w*(?:[Pp]ass(?:word|wd|code)?|pwd|[Tt]oken|[Ss]ecret|[Kk]ey|[Cc]redential)s?_?[0-9]{0,2}$"
    r"|[A-Z]\w*(?:Types?|Str|String|Bool|Model|Field|Input)$"
)
"""Names that programs give to secrets themselves."""
_CODE = re.compile(
    rf"{_NAME}(?:\.{_NAME})*(?:\(|\[|::|->|\?\.)"  # a call, a subscript, a member
    rf"|{_NAME}(?:\.{_NAME})+$"  # an attribute
    r"|[:$%@&*?!]{1,2}[A-Za-z_]\w*$"  # a parameter, a variable, an anchor
    r"|[A-Za-z_]\w*[!?]?:$"  # the next name
    r"|(?:[A-Za-z]?[a-z]+(?:[A-Z][a-z]{2,}|[A-Z]{2,5})*|[A-Z_]+)[!?]*$"  # a name, a type
    rf"|{_CALLED}"
)
"""What stands for a value in code, SQL and YAML."""
_OF_ENVIRONMENT = re.compile(r"(?:^|[\s;\"'])[A-Z][A-Z0-9_]*$")


def has_letters_and_digits(value: str) -> bool:
    """Whether a value has both letters and digits."""
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def entropy(value: str) -> float:
    """The Shannon entropy of a value, in bits per character."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def names_secret(name: str) -> bool:
    """Whether a field, parameter or variable of this name holds a secret."""
    bare = name.rstrip("0123456789_")
    return any(stem.end() == len(bare) and _is_name(bare, stem) for stem in _STEM.finditer(bare))


def assigned(text: str) -> Iterator[Span]:
    """The values assigned to names of secrets, such as `api_key`."""
    at = 0
    for stem in _stems(text):
        if stem.start() < at:
            continue
        at = stem.end()
        sign = _SIGN.match(text, at)
        if sign and _is_name(text, stem) and (span := _value(text, stem, sign)):
            yield span
            at = span.end


def _stems(text: str) -> Iterator[re.Match[str]]:
    """Where names of secrets end before a sign. Searching for literals is many times faster than for an expression."""
    lowered = text.lower()
    if len(lowered) != len(text):
        yield from _STEM.finditer(text)
        return
    for at in places(lowered, _LITERALS):
        if _IS_ASSIGNED.match(text, at) and (stem := _STEM.match(text, at)):
            yield stem


def _is_name(text: str, stem: re.Match[str]) -> bool:
    ahead = before(text, stem.start(), 16)
    if ahead[-1:] in _ENDS_OF_SIGNERS and _SIGNER.search(ahead):
        return False
    if stem[0].lower().startswith("key"):
        return bool(_OF_A_KEY.search(ahead)) and not _NO_SECRET.search(ahead)
    is_apart = not ahead[-1:].isalpha() or (ahead[-1].islower() and stem[0][0].isupper())
    is_compound = bool(_OF_A_KEY.search(ahead)) or ahead.lower().endswith(
        ("refresh", "session", "db")
    )
    return (is_apart or is_compound) and not _NO_SECRET.search(ahead)


def _value(text: str, stem: re.Match[str], sign: re.Match[str]) -> Span | None:
    if sign["quote"]:
        return _quoted(text, stem, sign)
    if sign["sign"] in (",", "==", "===", "!=", "!=="):
        return None
    if sign["sign"] == ">":
        return _element(text, stem, sign)
    return _unquoted(text, stem, sign)


def _quoted(text: str, stem: re.Match[str], sign: re.Match[str]) -> Span | None:
    start = sign.end()
    end = _closing(text, start, sign["quote"], len(sign["escapes"]))
    value = re.sub(r"\\+", r"\\", text[start:end]) if end else ""
    if char_at(text, stem.start() - 1) == "[" and value.endswith("]"):
        return None
    if len(value) < (4 if value.isdigit() else 6):
        return None
    is_password = _is_password_name(stem)
    if sign["sign"] == "," and value.isalpha():
        return None
    if re.fullmatch(r"[a-z]+(?:[A-Z][a-z]+)+", value) and re.match(_CALLED, value):
        return None
    if is_password and _is_bare_pass(text, stem) and not re.search(r"[^\w\s.:/-]", value):
        return None
    if " " in value:
        is_secret = is_password and _is_phrase(value)
    elif is_stand_in(value):
        return None
    elif is_password:
        is_secret = value.isdigit() or _is_password(value, is_quoted=True)
    else:
        is_secret = _is_key(value)
    return Span(start, end, _BY_NAME) if is_secret else None


def _closing(text: str, start: int, quote: str, escapes: int) -> int:
    """Where a value ends whose quotes have this many escapes; 0 if it does not end on its line."""
    period = 2 * (escapes + 1)
    most = min(len(text), start + _LONGEST)
    at = text.find(quote, start, most)
    while at >= 0 and "\n" not in text[start:at]:
        written = text[start:at]
        run = len(written) - len(written.rstrip("\\"))
        if run % period == escapes:
            return at - escapes
        at = text.find(quote, at + 1, most)
    return 0


def _element(text: str, stem: re.Match[str], sign: re.Match[str]) -> Span | None:
    """The text of an XML element, if it is a secret."""
    start = sign.end()
    end = text.find("</", start, start + _LONGEST)
    name = before(text, stem.start(), 32).rpartition("<")[2]
    if end < 0 or "<" not in before(text, stem.start(), 32) or not re.fullmatch(r"[\w:.-]*", name):
        return None
    value = text[start:end]
    if len(value) < 6 or value.isspace() or is_stand_in(value) or "<" in value:
        return None
    is_secret = _is_password(value, is_quoted=True) if _is_password_name(stem) else _is_key(value)
    return Span(start, end, _BY_NAME) if is_secret else None


def _unquoted(text: str, stem: re.Match[str], sign: re.Match[str]) -> Span | None:
    start = sign.end()
    found = _TOKEN.match(text, start)
    if not found:
        return _on_the_next_line(text, stem, sign)
    if _NEXT_SECRET.match(found[0]):
        return None
    end = start + len(_without_what_follows(found[0]))
    value = text[start:end]
    if len(value) < (4 if value.isdigit() else 6) or is_stand_in(value):
        return None
    if char_at(text, stem.start() - 1) == "[" and value.endswith("]"):
        return None
    if value.isdigit():
        is_secret = _is_password_name(stem) and stem[0].lower() != "pass"
    elif sign["sign"].lower().startswith("is"):
        is_secret = has_letters_and_digits(value) and not _CODE.match(value)
    elif _is_code(text, stem, sign, end) or _is_bare_pass(text, stem):
        return None
    elif _is_password_name(stem):
        is_secret = _is_password(value, is_quoted=False)
    else:
        is_secret = "(" not in value and _is_key(value)
    return Span(start, end, _BY_NAME) if is_secret else None


def _without_what_follows(token: str) -> str:
    """A token up to the next assigned name, as in `password=x&user=y` and `Password=x;Server=y`."""
    for mark in _MARKS.finditer(token):
        if _NEXT_NAME.match(token, mark.start()):
            token = token[: mark.start()]
            break
    return token.rstrip(_MARKS_AFTER)


def _on_the_next_line(text: str, stem: re.Match[str], sign: re.Match[str]) -> Span | None:
    found = _NEXT_LINE.match(text, sign.end()) if _is_password_name(stem) else None
    if not found or ":" not in sign["sign"]:
        return None
    start = found.end() - len(found[0].lstrip())
    value = text[start : found.end()]
    is_secret = not (is_stand_in(value) or ":" in value or "=" in value or _CODE.match(value))
    return Span(start, found.end(), _BY_NAME) if is_secret else None


def _is_password_name(stem: re.Match[str]) -> bool:
    return stem[0].lower().startswith(_PASSWORDS)


def _is_bare_pass(text: str, stem: re.Match[str]) -> bool:
    """Whether this is the `PASS` of a test report."""
    return stem[0] in ("PASS", "Pass") and char_at(text, stem.start() - 1) not in ("_", "-")


def _is_code(text: str, stem: re.Match[str], sign: re.Match[str], end: int) -> bool:
    """Whether the value is an identifier in code; the values in an environment file are not."""
    value = text[sign.end() : end]
    if not _CODE.match(value):
        return char_at(text, end) == ":" and re.fullmatch(r"[A-Za-z_][\w-]*", value) is not None
    is_last = char_at(text, end) in ("", "\n", "\r", " ") and "\n" not in sign[0]
    name = before(text, stem.end(), 48)
    is_of_environment = sign[0] == "=" and bool(_OF_ENVIRONMENT.search(name))
    return not (is_of_environment and is_last and _is_mixed(value))


def _is_mixed(value: str) -> bool:
    return len(value) > 7 and value.isalnum() and not value.islower() and not value.isupper()


def is_stand_in(value: str) -> bool:
    """Whether a value is a placeholder for a secret."""
    return STAND_IN.search(value) is not None or value.lower() in _PLAIN_WORDS


def _is_key(value: str) -> bool:
    return (
        len(value) > 7
        and " " not in value
        and has_letters_and_digits(value)
        and entropy(value) > 2.8
    )


def _is_password(value: str, *, is_quoted: bool) -> bool:
    """Whether a person might choose this password: several kinds of characters, or a long quoted word."""
    if not is_quoted and "(" in value and ")" in value:
        return False
    kinds = sum(bool(re.search(kind, value)) for kind in ("[a-z]", "[A-Z]", "[0-9]", r"[^\w.-]"))
    if kinds == 1:
        return is_quoted and len(value) > 7 and value.isalpha() and entropy(value) > 2.5
    return entropy(value) > 2 and not re.fullmatch(r"[A-Za-z]?[a-z_]+", value)


def _is_phrase(value: str) -> bool:
    """Whether quoted words are a password rather than a message about one."""
    said = [word.lower() for word in re.findall(r"[^\W\d_]+", value)]
    if re.search(r"\*{3}|[{<(\[]\w|\.{3}", value):
        return False
    if _STEM.search(value) or not _IN_LABELS.isdisjoint(said) or value[-1] in ".:?":
        return False
    return any(map(str.isdigit, value)) or (len(said) > 3 and STOP_WORDS.isdisjoint(said))
