"""Read the status, codes and retry delay from errors of providers' clients.

Reads attributes that the errors of OpenAI, Anthropic, AWS, Google, httpx, requests, aiohttp, gRPC and Postgres have in
common, without importing any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

_STATUS_NAMES = ("status_code", "code", "status", "http_status")
_CODE_NAMES = ("code", "type", "status")
# langchain-openrouter states the status in the text alone.
_STATED = re.compile(r"OpenRouter API returned an error.*\(code: (\d{3})\)", re.DOTALL)
_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")


def status_of(error: BaseException) -> int | None:
    """Return an error's HTTP status, 400 to 599, or `None`."""
    response = _read(error, "response")
    candidates = [
        *(_read(error, name) for name in _STATUS_NAMES),
        *(_read(response, name) for name in ("status_code", "status")),
        _at(response, "ResponseMetadata", "HTTPStatusCode"),
        *(_number(_part(body, name)) for body in _bodies(error) for name in _STATUS_NAMES),
        _stated(error),
    ]
    numbers = (int(c) for c in candidates if isinstance(c, int) and not isinstance(c, bool))
    return next((number for number in numbers if 400 <= number < 600), None)


def codes_of(error: BaseException) -> Iterator[str]:
    """Yield the provider's codes for an error, such as `"insufficient_quota"` or `"ThrottlingException"`."""
    found = [
        *(_read(error, name) for name in _CODE_NAMES),
        _read(_called(_read(error, "code")), "name"),  # gRPC
        _at(_read(error, "response"), "Error", "Code"),  # AWS
        *(_part(body, name) for body in _bodies(error) for name in _CODE_NAMES),
        *(_at(_read(error, "details"), "error", name) for name in ("status",)),  # Google's genai
    ]
    yield from (word for word in found if isinstance(word, str))


def sqlstate_of(error: BaseException) -> str:
    """Return the five-character SQLSTATE of a database error, or an empty string."""
    said = _read(error, "sqlstate") or _read(error, "pgcode")
    return said if isinstance(said, str) else ""


def retry_after_of(error: BaseException, *, time: float) -> float | None:
    """Return the seconds to wait before a retry, as stated by an error or the errors it was raised from.

    Args:
        error: Any error, such as one from a provider's client or a policy's rejection.
        time: The current time in seconds since the epoch, for `Retry-After` headers with a date.

    Returns:
        The seconds, or `None` if no error states them.
    """
    for link in causes(error):
        candidates = (_read(link, "retry_after"), *_delays(_read(link, "details")))
        for candidate in (*candidates, *_header_delays(link, time)):
            if (seconds := _seconds(candidate)) is not None:
                return seconds
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then the errors it was raised from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__


def _bodies(error: BaseException) -> Iterator[Any]:
    """Yield the bodies that an error holds: of its answer, or of an answer with status 200 that was an error in truth.

    LangChain raises the latter as `ValueError(body)`.
    """
    first = next(iter(error.args), None)
    for body in (_read(error, "body"), first):
        if isinstance(body, Mapping) or (body is first and _read(body, "message") is not None):
            yield from (body, inner) if (inner := _part(body, "error")) else (body,)


def _part(body: Any, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else _read(body, name)


def _number(said: Any) -> Any:
    """Return a status that is written as a text as a number, and anything else as it is."""
    return int(said) if isinstance(said, str) and re.fullmatch("[45][0-9]{2}", said) else said


def _stated(error: BaseException) -> int | None:
    first = next(iter(error.args), None)
    found = _STATED.fullmatch(first) if isinstance(first, str) else None
    return int(found[1]) if found else None


def _header_delays(error: BaseException, time: float) -> Iterator[Any]:
    headers = _headers(error)
    for name in _MILLISECONDS:
        if (milliseconds := _seconds(headers.get(name))) is not None:
            yield milliseconds / 1000
    said = headers.get("retry-after")
    yield said
    with suppress(ValueError, TypeError, OverflowError):
        yield max(parsedate_to_datetime(str(said)).timestamp() - time, 0.0)


def _headers(error: BaseException) -> dict[str, Any]:
    response = _read(error, "response")
    for place in (_read(response, "headers"), _read(error, "headers")):
        if isinstance(place, Mapping):
            return {str(name).lower(): value for name, value in place.items()}
    of_aws = _at(response, "ResponseMetadata", "HTTPHeaders")
    return dict(of_aws) if isinstance(of_aws, Mapping) else {}


def _delays(details: Any) -> Iterator[Any]:
    """Yield the delays in Google's `RetryInfo`, as a message or as JSON."""
    details = _at(details, "error", "details") or details
    for detail in details if isinstance(details, (list, tuple)) else ():
        delay = _read(detail, "retry_delay")
        seconds = _read(delay, "seconds")
        if isinstance(seconds, int):
            yield seconds + (_read(delay, "nanos") or 0) / 1e9
        said = _at(detail, "retryDelay")
        if isinstance(said, str):
            yield said.removesuffix("s")


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    with suppress(ValueError, OverflowError):
        seconds = float(value)
        return seconds if isfinite(seconds) and seconds >= 0 else None
    return None


def _read(value: Any, name: str) -> Any:
    with suppress(Exception):  # properties may raise anything, as httpx's `request` does
        return getattr(value, name, None)
    return None


def _called(value: Any) -> Any:
    with suppress(Exception):
        return value() if callable(value) else None
    return None


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
