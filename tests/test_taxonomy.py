"""What errors mean: those of the clients' own where they are at hand, else errors that say what the clients' say."""

from __future__ import annotations

from email.utils import formatdate
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import psycopg_pool
import pydantic
import pytest
import requests
import valkey
from botocore.exceptions import EventStreamError
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.exceptions import ModelRefusalError
from langgraph.errors import GraphRecursionError, NodeTimeoutError
from langgraph.types import RetryPolicy

from lg_prod_nodes import (
    CaptureErrors,
    CircuitBreaker,
    ConfigurationError,
    ContentBlocked,
    Fallback,
    RetryBudget,
    StoreUnavailable,
)
from lg_prod_nodes.core.error_class import (
    check_classes,
    class_of,
    gravest,
    is_transient,
    retry_after_of,
)
from lg_prod_nodes.core.report import CLASSES

REQUEST = httpx.Request("POST", "https://model.example")
QUOTA = {"code": "insufficient_quota", "type": "insufficient_quota"}


def says(**attributes: Any) -> Exception:
    """An error of a client that says so."""
    error = Exception("the message")
    vars(error).update(attributes)
    return error


def of_httpx(status: int, **headers: str) -> Exception:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx.Response(status, headers=names, request=REQUEST)
    return httpx.HTTPStatusError("", request=REQUEST, response=response)


def of_requests(status: int) -> Exception:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


def of_aws(code: str, status: int, **headers: str) -> Exception:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return says(response={"Error": {"Code": code}, "ResponseMetadata": metadata})


def of_grpc(name: str) -> Exception:
    return says(code=lambda: SimpleNamespace(name=name))


def caused(cause: Exception, wrapper: Exception) -> Exception:
    wrapper.__cause__ = cause
    return wrapper


KNOWN = [
    ("transient", ConnectionResetError()),
    ("transient", TimeoutError()),
    ("transient", httpx.ConnectError("")),
    ("transient", httpx.ReadTimeout("")),
    ("transient", requests.ConnectionError()),
    ("transient", requests.Timeout()),
    ("transient", valkey.TimeoutError()),
    ("transient", psycopg.errors.SerializationFailure()),
    ("transient", psycopg.errors.AdminShutdown()),
    ("transient", says(pgcode="40P01")),
    ("unknown", says(code="40101")),
    ("transient", psycopg.OperationalError()),
    ("transient", psycopg_pool.PoolTimeout()),
    ("transient", NodeTimeoutError("agent", 2.0, kind="run", run_timeout=1.0)),
    ("transient", StoreUnavailable()),
    ("transient", of_httpx(503)),
    ("transient", of_httpx(529)),
    ("transient", of_requests(502)),
    ("transient", says(status_code=409)),
    ("transient", says(type="server_error")),
    ("transient", says(body={"type": "error", "error": {"type": "overloaded_error"}})),
    ("transient", of_aws("ServiceUnavailableException", 503)),
    ("transient", of_grpc("UNAVAILABLE")),
    ("rate_limited", of_httpx(429)),
    ("rate_limited", of_requests(429)),
    ("rate_limited", says(status_code=429, code="rate_limit_exceeded")),
    ("rate_limited", says(status=429)),
    ("rate_limited", of_aws("ThrottlingException", 400)),
    ("rate_limited", of_grpc("RESOURCE_EXHAUSTED")),
    ("permanent", says(status_code=429, **QUOTA)),
    ("permanent", of_httpx(401)),
    ("permanent", of_httpx(501)),
    ("permanent", httpx.UnsupportedProtocol("")),
    ("permanent", FileNotFoundError()),
    ("permanent", KeyError()),
    ("permanent", GraphRecursionError()),
    ("permanent", of_grpc("UNAUTHENTICATED")),
    ("bad_input", ValueError()),
    ("bad_input", of_httpx(422)),
    ("bad_input", of_aws("ValidationException", 400)),
    ("refused", ModelRefusalError("the model's own words")),
    ("refused", caused(ModelRefusalError(), RuntimeError())),
    ("rejected", ContentBlocked(["terms"])),
    ("critical", ConfigurationError()),
    ("critical", MemoryError()),
    ("unknown", RuntimeError()),
    ("unknown", OSError()),
    ("unknown", says(status_code=200, code=7, status=True)),
    ("transient", caused(of_httpx(500), RuntimeError())),
    ("bad_input", caused(of_httpx(500), ValueError())),
    ("permanent", ExceptionGroup("", [TimeoutError(), KeyError()])),
    ("transient", ExceptionGroup("", [TimeoutError(), of_httpx(500)])),
]


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        ("rate_limited", "throttlingException"),
        ("transient", "modelStreamErrorException"),
        ("transient", "internalServerException"),
        ("transient", "serviceUnavailableException"),
        ("transient", "modelTimeoutException"),
        ("bad_input", "validationException"),
        ("permanent", "accessDeniedException"),
        ("transient", "dependencyFailedException"),
    ],
)
def test_bedrock_s_errors_amid_a_stream_have_the_class_of_those_before_it(
    expected: str, code: str
) -> None:
    response: Any = {"Error": {"Code": code, "Message": "m"}}

    assert class_of(EventStreamError(response, "ConverseStream")) == expected


class ResponseError(pydantic.BaseModel):
    """What OpenAI's Responses API has as `response.error`."""

    code: str
    message: str = "m"


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        ("rate_limited", ValueError({"message": "m", "code": 429})),
        ("transient", ValueError({"message": "m", "code": 502, "metadata": {"raw": 400}})),
        ("transient", ValueError({"message": "m", "code": "503", "type": "None"})),
        ("transient", ValueError({"error": {"message": "m", "code": 504}})),
        ("transient", ValueError({"message": "m", "type": "server_error", "code": None})),
        ("permanent", ValueError({"message": "m", "code": 429, "type": "insufficient_quota"})),
        ("permanent", ValueError({"message": "m", "code": 402})),
        ("bad_input", ValueError({"message": "m", "code": 400})),
        ("bad_input", ValueError({"message": "m"})),
        ("rate_limited", ValueError(ResponseError(code="rate_limit_exceeded"))),
        ("transient", ValueError(ResponseError(code="server_error"))),
        ("rate_limited", says(body={"message": "m", "code": "429"})),  # openai's, amid a stream
        ("transient", says(body={"message": "m", "type": "overloaded_error"})),
        ("transient", says(body={"error": {"code": 503, "status": "UNAVAILABLE"}})),
        ("transient", ValueError("OpenRouter API returned an error: no (code: 502)")),
        (
            "rate_limited",
            ValueError("OpenRouter API returned an error during streaming: no (code: 429)"),
        ),
        ("bad_input", ValueError("our own (code: 502)")),
        ("unknown", RuntimeError("a text", {"code": 502})),
    ],
)
def test_an_error_in_the_body_of_an_answer_has_its_class(expected: str, error: Exception) -> None:
    assert class_of(error) == expected


@pytest.mark.parametrize(("expected", "error"), KNOWN, ids=range(len(KNOWN)))
def test_the_errors_of_common_clients_have_a_class(expected: str, error: Exception) -> None:
    assert class_of(error) == expected
    assert is_transient(error) is (expected in ("transient", "rate_limited"))


def test_a_failed_validation_is_bad_input() -> None:
    with pytest.raises(pydantic.ValidationError) as raised:
        pydantic.TypeAdapter(int).validate_python("x")
    assert class_of(raised.value) == "bad_input"


def test_a_causes_circle_ends() -> None:
    one, two = RuntimeError(), RuntimeError()
    one.__cause__, two.__cause__ = two, one
    assert class_of(one) == "unknown"


def test_the_text_of_a_stored_error_tells_its_type_alone() -> None:
    assert class_of("ConnectionError('secret')") == "transient"
    assert class_of("ModelRefusalError('the model s own words')") == "refused"
    assert class_of("???") == "unknown"


class Ours(ValueError):
    """An error of the user's own."""


@pytest.mark.parametrize(
    "classify",
    [
        {Ours: "transient", ValueError: "permanent"},
        lambda e: "transient" if type(e) is Ours else None,
    ],
)
def test_a_user_s_classes_come_first(classify: Any) -> None:
    assert class_of(Ours(), classify) == "transient"
    assert class_of(caused(Ours(), RuntimeError()), classify) == "transient"
    assert class_of(TimeoutError(), classify) == "transient"
    assert partial(is_transient, classify=classify)(Ours())


@given(st.lists(st.sampled_from(CLASSES), min_size=1))
def test_of_several_the_gravest_counts_in_any_order(classes: Any) -> None:
    assert gravest(classes) == gravest(reversed(classes))
    assert gravest([*classes, gravest(classes)]) == gravest(classes)
    assert CLASSES.index(gravest(classes)) >= max(map(CLASSES.index, classes))


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.dictionaries(st.text(), st.text()),
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["response", "status", "status_code", "code", "type", "body", "details", "headers"]
        ),
        st.one_of(
            ANYTHING, st.lists(ANYTHING), st.dictionaries(st.sampled_from(["error"]), ANYTHING)
        ),
    ),
    ANYTHING,
)
def test_whatever_an_error_says_it_has_one_class_and_perhaps_a_delay(said: Any, delay: Any) -> None:
    error = says(**said, retry_after=delay)
    assert class_of(error) in CLASSES
    seconds = retry_after_of(error, time=0.0)
    assert seconds is None or 0 <= seconds < float("inf")


def test_an_attribute_that_raises_is_not_read() -> None:
    class Odd(TimeoutError):
        @property
        def response(self) -> Any:
            raise RuntimeError

        def code(self) -> Any:
            raise RuntimeError

    assert class_of(Odd()) == "transient"
    assert retry_after_of(Odd(), time=0.0) is None


NOW = 1_800_000_000.0
DELAYS = [
    (7.0, of_httpx(429, retry_after="7")),
    (1.5, of_httpx(429, retry_after_ms="1500", retry_after="2")),
    (9.0, of_httpx(503, retry_after=formatdate(NOW + 9, usegmt=True))),
    (0.0, of_httpx(503, retry_after=formatdate(NOW - 9, usegmt=True))),
    (4.0, of_aws("ThrottlingException", 400, **{"retry-after": "4"})),
    (2.0, says(status=429, headers={"Retry-After": "2"})),
    (
        30.5,
        says(details=[SimpleNamespace(retry_delay=SimpleNamespace(seconds=30, nanos=500_000_000))]),
    ),
    (12.0, says(details={"error": {"details": [{"retryDelay": "12s"}]}})),
    (3.0, says(retry_after=3)),
    (7.0, caused(of_httpx(429, retry_after="7"), RuntimeError())),
    (None, of_httpx(429, retry_after="soon")),
    (None, of_httpx(429, retry_after="-1")),
    (None, of_httpx(429, retry_after="inf")),
    (None, of_httpx(429)),
    (None, ValueError()),
]


@pytest.mark.parametrize(("expected", "error"), DELAYS, ids=range(len(DELAYS)))
def test_a_provider_says_how_long_to_wait(expected: float | None, error: Exception) -> None:
    assert retry_after_of(error, time=NOW) == expected


def test_a_retry_policy_takes_the_predicate() -> None:
    assert RetryPolicy(retry_on=is_transient).retry_on is is_transient


def test_a_class_that_there_is_not_is_refused() -> None:
    check_classes("on", CLASSES)
    with pytest.raises(ConfigurationError, match="'flaky'; choose among transient"):
        check_classes("on", ["flaky"])


@pytest.mark.parametrize(
    "policy", [CaptureErrors, CircuitBreaker, RetryBudget, partial(Fallback, answer="x")]
)
def test_a_user_s_class_that_there_is_not_is_refused(policy: Any) -> None:
    with pytest.raises(ConfigurationError, match="classify has 'flaky'; choose among transient"):
        policy(classify={Ours: "flaky"})
