"""Classify errors: which are transient, which are permanent, and which must never be ignored.

Retries, error capture, fallbacks and circuit breakers share this one taxonomy:

    RetryPolicy(retry_on=is_transient)
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterable, Mapping

from lg_prod_nodes.core.advice import did_you_mean
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.provider_errors import (
    causes,
    codes_of,
    retry_after_of,
    sqlstate_of,
    status_of,
)
from lg_prod_nodes.core.report import CLASSES, ErrorClass

__all__ = [
    "CLASSES",
    "Classify",
    "ErrorClass",
    "check_classes",
    "check_classify",
    "class_of",
    "gravest",
    "is_transient",
    "retry_after_of",
    "type_of",
]


Classify = Mapping[type[BaseException], ErrorClass] | Callable[[BaseException], ErrorClass | None]
"""Your own classes, which take precedence: a mapping by type, or a function that returns a class or `None`."""

_NAMES: Mapping[ErrorClass, str] = {
    "transient": """
        APIConnectionError BlockingIOError ChunkedEncodingError ClientConnectionError ClientPayloadError ConnectionError
        HTTPClientError IncompleteRead InterruptedError NodeTimeoutError OperationalError ProtocolError RetryError
        StoreUnavailable Timeout TimeoutError TransportError gaierror""",
    "permanent": """
        ArithmeticError AssertionError AttributeError FileExistsError FileNotFoundError ImportError InvalidUpdateError
        IsADirectoryError LocalProtocolError LookupError NameError NoCredentialsError NotADirectoryError
        NotImplementedError PermissionError RecursionError SyntaxError TypeError UnsupportedProtocol""",
    "bad_input": "EmptyInputError ParamValidationError ValidationError ValueError",
    "refused": "ContentFilterFinishReasonError ModelRefusalError OpenAIRefusalError",
    "rejected": "CallRejected",
    "critical": "ConfigurationError MemoryError SystemError VaultTampered",
}
_CODES: Mapping[ErrorClass, str] = {
    "transient": """
        ABORTED BadGatewayException ConflictException DEADLINE_EXCEEDED DependencyFailedException INTERNAL
        InternalServerException ModelErrorException ModelNotReadyException ModelStreamErrorException
        ModelTimeoutException RequestTimeout RequestTimeoutException ServiceUnavailable ServiceUnavailableException
        UNAVAILABLE api_error overloaded_error server_error timeout_error""",
    "rate_limited": """
        ProvisionedThroughputExceededException RESOURCE_EXHAUSTED RequestLimitExceeded SlowDown Throttling
        ThrottlingException TooManyRequestsException rate_limit_error rate_limit_exceeded""",
    "permanent": """
        AccessDeniedException NOT_FOUND PERMISSION_DENIED ResourceNotFoundException ServiceQuotaExceededException
        UNAUTHENTICATED UNIMPLEMENTED authentication_error billing_error
        insufficient_quota model_not_found not_found_error permission_error""",
    "bad_input": """
        INVALID_ARGUMENT OUT_OF_RANGE ValidationException context_length_exceeded invalid_request_error
        request_too_large""",
}
_TRANSIENT_SQLSTATES = ("08", "40", "53", "55P03", "57")
_BAD_INPUT = {400, 411, 413, 414, 415, 422, 431}
_TRANSIENT = {408, 409, 425}
_NEVER = {501, 505}


def _table(words: Mapping[ErrorClass, str]) -> dict[str, ErrorClass]:
    return {word: of for of, listed in words.items() for word in listed.split()}


_BY_NAME, _BY_CODE = _table(_NAMES), _table(_CODES)


def class_of(error: BaseException | str, classify: Classify | None = None) -> ErrorClass:
    """Return the class of an error.

    Looks at the code and status reported by a provider's client, then at the names of the error's type and its base
    types, then at the errors it was raised from. For an exception group, the gravest class counts.

    Args:
        error: The error, or its `repr`, of which only the type's name is used.
        classify: Your own classes, which take precedence.

    Returns:
        The class, `"unknown"` if nothing matches.
    """
    if isinstance(error, str):
        built_in = getattr(builtins, type_of(error), None)
        names = (
            [c.__name__ for c in built_in.__mro__]
            if isinstance(built_in, type)
            else [type_of(error)]
        )
        return _of_names(names) or "unknown"
    if (given := _given(error, classify)) is not None:
        return given
    if isinstance(error, BaseExceptionGroup):
        return gravest(class_of(member, classify) for member in error.exceptions)
    for link in causes(error):
        known = _given(link, classify) or _said(link) or _named(link)
        if known is not None:
            return known
    return "unknown"


def type_of(error: BaseException | str) -> str:
    """Return the name of an error's type, also from the `repr` that LangGraph reads back from a checkpoint."""
    if isinstance(error, str):
        name = re.match(r"\w+", error)
        return name[0] if name else "Exception"
    return type(error).__name__


def is_transient(error: BaseException, classify: Classify | None = None) -> bool:
    """Return whether a retry may succeed, for `RetryPolicy(retry_on=is_transient)`.

    To add your own classes: `retry_on=partial(is_transient, classify={MyError: "transient"})`.
    """
    return class_of(error, classify) in ("transient", "rate_limited")


def gravest(classes: Iterable[ErrorClass]) -> ErrorClass:
    """Return the gravest of several classes: a retry helps only if it helps with every error."""
    return max(classes, key=CLASSES.index)


def check_classes(setting: str, given: Iterable[object]) -> None:
    """Check that names are error classes.

    Raises:
        ConfigurationError: A name is unknown.
    """
    for name in given:
        if name not in CLASSES:
            advice = did_you_mean(name, CLASSES, "choose among")
            raise ConfigurationError(f"{setting} has {name!r}; {advice}")


def check_classify(classify: Classify | None) -> None:
    """Check that a `classify` mapping has valid classes.

    Raises:
        ConfigurationError: A class is unknown.
    """
    check_classes("classify", classify.values() if isinstance(classify, Mapping) else ())


def _given(error: BaseException, classify: Classify | None) -> ErrorClass | None:
    if classify is None:
        return None
    if callable(classify):
        return classify(error)
    return next((classify[cls] for cls in type(error).__mro__ if cls in classify), None)


def _said(error: BaseException) -> ErrorClass | None:
    for code in codes_of(error):
        # Bedrock's streams name the members of an event union: `throttlingException`.
        if known := _BY_CODE.get(code) or _BY_CODE.get(code[:1].upper() + code[1:]):
            return known
    if sqlstate_of(error).startswith(_TRANSIENT_SQLSTATES):
        return "transient"
    status = status_of(error)
    return None if status is None else _of_status(status)


def _of_status(status: int) -> ErrorClass:
    if status == 429:
        return "rate_limited"
    if status in _BAD_INPUT:
        return "bad_input"
    if status in _TRANSIENT or (status >= 500 and status not in _NEVER):
        return "transient"
    return "permanent"


def _named(error: BaseException) -> ErrorClass | None:
    return _of_names(cls.__name__ for cls in type(error).__mro__)


def _of_names(names: Iterable[str]) -> ErrorClass | None:
    return next((_BY_NAME[name] for name in names if name in _BY_NAME), None)
