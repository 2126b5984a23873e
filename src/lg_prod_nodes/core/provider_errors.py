"""Read the status, codes and retry delay from errors of providers' clients.

Reads attributes that the errors of OpenAI, Anthropic, AWS, Google, httpx, requests, aiohttp, gRPC and Postgres have in
common, without importing any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

_STATUS_NAMES = ("status_code", "code", "status", "http_status")
_CODE_NAMES = ("code", "type", "status")
_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")


def status_of(error: BaseException) -> int | None:
    """Return an error's HTTP status, 400 to 599, or `None`."""
    response = _read(error, "response")
    candidates = [
        *(_read(error, name) for name in _STATUS_NAMES),
        *(_read(response, name) for name in ("status_code", "status")),
        _at(response, "ResponseMetadata", "HTTPStatusCode"),
    ]
    numbers = (int(c) for c in candidates if isinstance(c, int) and not isinstance(c, bool))
    return next((number for number in numbers if 400 <= number < 600), None)


def codes_of(error: BaseException) -> Iterator[str]:
    """Yield the provider's codes for an error, such as `"insufficient_quota"` or `"ThrottlingException"`."""
    found = [
        *(_read(error, name) for name in _CODE_NAMES),
        _read(_called(_read(error, "code")), "name"),  # gRPC
        _at(_read(error, "response"), "Error", "Code"),  # AWS
        *(_at(_read(error, "body"), "error", name) for name in ("code", "type")),
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
