from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
import uvicorn.config
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel, SecretStr
from tests.canary.search import Search, told
from tests.canary.values import MAKERS, Plants

from lg_prod_nodes import ConfigurationError, DetectionFailed, Redact, Tracing, harden
from lg_prod_nodes.service.logs import configure_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


pytestmark = pytest.mark.usefixtures("logging_as_it_was")


@pytest.fixture
def out() -> io.StringIO:
    """Where lines go, as JSON. In a test's body, pytest's own handlers stand beside it."""
    stream = io.StringIO()
    configure_logging(stream=stream)
    return stream


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def line(out: io.StringIO) -> dict[str, Any]:
    (only,) = lines(out)
    return only


def test_a_line_tells_what_when_and_by_whom(out: io.StringIO) -> None:
    structlog.get_logger("desk").info("looked up", order="A-1001", seconds=0.25, tries=3)

    said = line(out)
    assert said.pop("timestamp").endswith("Z")
    assert said == {
        "event": "looked up",
        "level": "info",
        "logger": "desk",
        "order": "A-1001",
        "seconds": 0.25,
        "tries": 3,
    }


def test_lines_of_the_standard_library_look_alike(out: io.StringIO) -> None:
    logging.getLogger("desk").warning("%s of %d", "one", 2, extra={"order": "A-1001"})

    said = line(out)
    assert said.pop("timestamp").endswith("Z")
    assert said == {"event": "one of 2", "level": "warning", "logger": "desk", "order": "A-1001"}


@pytest.mark.parametrize(
    ("stream", "asked", "is_json"),
    [
        (io.StringIO, None, True),
        (Terminal, None, False),
        (Terminal, True, True),
        (io.StringIO, False, False),
    ],
)
def test_lines_are_for_people_in_a_terminal(stream: Any, asked: bool | None, is_json: bool) -> None:
    out = stream()
    configure_logging(stream=out, json=asked)

    structlog.get_logger("desk").info("looked up", order="A-1001")

    assert out.getvalue().startswith("{") is is_json
    assert ("\x1b[" in out.getvalue()) is (stream is Terminal and not is_json)


@pytest.mark.parametrize("level", ["WARNING", "warning", 30])
def test_what_is_below_the_level_is_not_logged(level: str | int) -> None:
    out = io.StringIO()
    configure_logging(stream=out, level=level)

    for log in (structlog.get_logger("desk"), logging.getLogger("desk")):
        log.info("quiet")
        log.warning("loud")

    assert [said["event"] for said in lines(out)] == ["loud", "loud"]


def test_a_level_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="choose one of CRITICAL"):
        configure_logging(level="LOUD")


def test_libraries_that_tell_each_request_are_quiet_at_every_level() -> None:
    out = io.StringIO()
    configure_logging(stream=out, level="DEBUG")

    logging.getLogger("httpx").info("HTTP Request: POST")
    logging.getLogger("httpcore.http11").debug("send_request_headers")
    logging.getLogger("openai._base_client").debug("Request options")
    logging.getLogger("httpx").warning("slow")

    assert line(out)["event"] == "slow"


@pytest.mark.parametrize(
    "name",
    ["uvicorn", "uvicorn.error", "uvicorn.access", "gunicorn.error", "gunicorn.access", "a.b"],
)
def test_loggers_with_handlers_of_their_own_join_in(name: str) -> None:
    theirs, out = io.StringIO(), io.StringIO()
    logger = logging.getLogger(name)
    logger.addHandler(logging.StreamHandler(theirs))
    logger.propagate = False
    logging.getLogger().addHandler(logging.StreamHandler(theirs))

    configure_logging(stream=out)
    logger.warning("from 203.0.113.9", extra={"color_message": "from \x1b[1m203.0.113.9"})

    said = line(out)
    assert (said["event"], said["logger"]) == ("from [IP_ADDRESS]", name)
    assert "color_message" not in said
    assert theirs.getvalue() == ""


def test_a_uvicorn_that_starts_later_joins_in(out: io.StringIO) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    uvicorn.Config(app, log_level="info")
    args = ("203.0.113.9:5000", "GET", "/x?mail=ann@example.com", "1.1", 200)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', *args)

    assert line(out)["event"] == '[IP_ADDRESS]:5000 - "GET /x?mail=[EMAIL_ADDRESS] HTTP/1.1" 200'


def test_langgraph_server_s_lines_join_in() -> None:
    code = """
import sys
from lg_prod_nodes.service.logs import configure_logging
import langgraph_api.logging, structlog, logging
early = structlog.stdlib.get_logger("langgraph_api.server")
early.warning("before")
configure_logging(stream=sys.stdout)
early.warning("ann@example.com", extra=1)
logging.getLogger("langgraph_api").warning("ann@example.com")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [each["event"] for each in said] == ["[EMAIL_ADDRESS]"] * 2


def test_a_second_call_takes_the_place_of_the_first(out: io.StringIO) -> None:
    log, second = structlog.get_logger("desk"), io.StringIO()
    log.info("one")
    configure_logging(stream=second, redact=Redact("EMAIL_ADDRESS"))

    log.info("two ann@example.com")
    logging.getLogger("desk").info("three 203.0.113.9")

    assert line(out)["event"] == "one"
    assert [said["event"] for said in lines(second)] == ["two [EMAIL_ADDRESS]", "three 203.0.113.9"]


def test_warnings_are_lines() -> None:
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging(stream=out)
        warnings.warn("ann@example.com", UserWarning, stacklevel=1)

    assert "UserWarning: [EMAIL_ADDRESS]" in line(out)["event"]
    assert line(out)["logger"] == "py.warnings"


# Ids


def graph_of(node: Callable[[Any], Any]) -> Any:
    builder = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
    return harden(builder, [Tracing(log_runs=True)]).compile(name="desk")


CONFIG: Any = {
    "run_id": "0e9e5154-fa59-4c41-bd86-7f1abee47549",
    "configurable": {
        "thread_id": "thread-7",
        "user_id": "ada",
        "tenant_id": "acme",
        "request_id": "request-7",
        "assistant_id": "desk-1",
    },
}
IDS = {
    "run_id": "0e9e5154-fa59-4c41-bd86-7f1abee47549",
    **CONFIG["configurable"],
    "graph": "desk",
    "node": "node",
    "attempt": 1,
}


@pytest.mark.parametrize(
    "log",
    [structlog.get_logger("mine"), logging.getLogger("mine")],
    ids=["structlog", "standard"],
)
async def test_each_line_of_a_run_has_its_ids(log: Any, out: io.StringIO) -> None:
    async def node(state: Any) -> None:
        log.info("in the node")
        await asyncio.to_thread(log.info, "in a thread of asyncio's")
        thread = threading.Thread(target=copy_context().run, args=(log.info, "in a thread"))
        thread.start()
        thread.join()
        await asyncio.create_task(asyncio.to_thread(log.info, "in a task"))

    await graph_of(node).ainvoke({"messages": []}, CONFIG)

    said = [each for each in lines(out) if each["logger"] == "mine"]
    assert len(said) == 4
    for each in said:
        assert each.items() >= IDS.items()
        assert (len(each["trace_id"]), len(each["span_id"])) == (32, 16)


def test_lines_after_a_run_have_none(out: io.StringIO) -> None:
    graph_of(lambda state: None).invoke({"messages": []}, CONFIG)
    logging.getLogger("mine").info("after")

    assert [said["event"] for said in lines(out)] == ["run started", "run ended", "after"]
    assert not IDS.keys() & lines(out)[-1].keys()


def test_an_id_that_says_who_somebody_is_is_hidden(out: io.StringIO) -> None:
    configurable = {"user_id": "ann@example.com", "thread_id": "+1 212 555 0142"}
    graph_of(lambda state: None).invoke({"messages": []}, {"configurable": configurable})

    for said in lines(out):
        assert (said["user_id"], said["thread_id"]) == ("[EMAIL_ADDRESS]", "[PHONE_NUMBER]")


# What must not pass


@dataclass
class Record:
    text: str
    hidden: str = field(default="swordfish", repr=False)


class Model(BaseModel):
    text: str


class Slots:
    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Slots({self.text!r})"


class Failure(Exception):
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f"it was {self.text}"


def raises(error: BaseException) -> Any:
    try:
        raise error
    except BaseException as raised:
        return raised


def in_a_chain(text: str) -> Any:
    try:
        try:
            raise ValueError(text)
        except ValueError as inner:
            inner.add_note(text)
            raise RuntimeError("outer") from inner
    except RuntimeError as outer:
        return outer


def logged_by_hand(text: str) -> None:
    try:
        raise KeyError(text)
    except KeyError:
        structlog.get_logger("mine").exception("failed")
        logging.getLogger("mine").exception("failed")
        logging.getLogger("mine").exception("failed", stack_info=True)


def bound(text: str) -> None:
    with structlog.contextvars.bound_contextvars(note=text):
        structlog.get_logger("mine").info("said")
        logging.getLogger("mine").info("said")


LOG, STD = structlog.get_logger("mine"), logging.getLogger("mine")
PLACES: Mapping[str, Callable[[str], Any]] = {
    "the event": lambda text: LOG.info(text),
    "a value": lambda text: LOG.info("said", note=text),
    "an argument": lambda text: LOG.info("said %s", text),
    "a bound value": lambda text: LOG.bind(note=text).info("said"),
    "a context variable": bound,
    "a key": lambda text: LOG.info("said", **{text: 1}),
    "a list": lambda text: LOG.info("said", notes=["x", [text]]),
    "a tuple": lambda text: LOG.info("said", notes=("x", text)),
    "a set": lambda text: LOG.info("said", notes={text}),
    "a mapping": lambda text: LOG.info("said", notes={"id": {"type": text, "role": text}}),
    "a mapping's key": lambda text: LOG.info("said", notes={text: {("x", text): 1}}),
    "a tool call": lambda text: LOG.info(
        "said", type="tool_call", id=text, call={"type": "tool_call", "id": text, "name": text}
    ),
    "a message": lambda text: LOG.info("said", message={"role": "user", "content": "", "id": text}),
    "bytes": lambda text: LOG.info("said", raw=text.encode(), more=[bytearray(text.encode())]),
    "a dataclass": lambda text: LOG.info("said", note=Record(text), notes=[Record(text)]),
    "a model": lambda text: LOG.info("said", note=Model(text=text)),
    "an object": lambda text: LOG.info("said", note=Slots(text), notes=[Slots(text)]),
    "an object as the event": lambda text: LOG.info(Slots(text)),
    "an exception": lambda text: LOG.error("said", error=ValueError(text)),
    "exc_info": lambda text: LOG.error("said", exc_info=raises(Failure(text))),
    "exc_info in a chain": lambda text: LOG.error("said", exc_info=in_a_chain(text)),
    "exc_info in a group": lambda text: LOG.error(
        "said", exc_info=raises(ExceptionGroup("many", [ValueError(text), Failure(text)]))
    ),
    "exceptions at hand": logged_by_hand,
    "a stack": lambda text: LOG.info("said", stack=text),
    "deep down": lambda text: LOG.info("said", note=[[[[[[[[[[[{"x": text}]]]]]]]]]]]),
    "a standard message": STD.info,
    "a standard argument": lambda text: STD.info("said %s", text),
    "standard arguments": lambda text: STD.info("said %(a)s", {"a": text}),
    "a standard repr": lambda text: STD.info("said %r", Slots(text)),
    "an extra": lambda text: STD.info("said", extra={"note": text, "notes": [text]}),
    "a logger's name": lambda text: logging.getLogger(text).warning("said"),
    "a line that fails": lambda text: STD.info("said %d", text),
    "arguments that are too many": lambda text: STD.info("said", text, text),
    "a library's line": lambda text: logging.getLogger("httpx").warning("POST %s", text),
}


@pytest.mark.parametrize("is_json", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_no_planted_value_passes(
    place: str, is_json: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    out, plants = io.StringIO(), Plants()
    configure_logging(stream=out, json=is_json, level="DEBUG")

    for number in range(3):
        for entity in MAKERS:
            PLACES[place](plants.value(f"{place}/{number}", entity))
        PLACES[place](plants.text(f"{place}/{number}/text"))
        PLACES[place](plants.json(f"{place}/{number}/json"))

    said = out.getvalue()
    assert said.count("\n") >= len(MAKERS)
    assert len(plants) == 3 * 3 * len(MAKERS)
    everything = [("log", said), ("outside", "".join(capfd.readouterr()))]
    assert told(Search(plants).leaks(everything)) == []  # type: ignore[arg-type]


def test_the_search_for_planted_values_finds_them() -> None:
    out, plants = io.StringIO(), Plants()
    configure_logging(stream=out, redact=Redact("US_ITIN"))

    for entity in MAKERS:
        LOG.info(plants.value("shown", entity))

    (found,) = told(Search(plants).leaks([("log", out.getvalue())]))  # type: ignore[arg-type]
    assert all(entity in found for entity in MAKERS)


@pytest.mark.parametrize(
    "value", [4111111111111111, 4111111111111111.0, "4111111111111111"], ids=["int", "float", "str"]
)
def test_a_number_is_searched_as_a_text_is(value: Any, out: io.StringIO) -> None:
    structlog.get_logger().info("paid", card=value, cards=[value], by={"card": value, value: 1})

    assert "4111" not in out.getvalue()
    assert "4.111" not in out.getvalue()
    assert line(out)["card"] == "[CREDIT_CARD]"


@pytest.mark.parametrize("value", [2125550142, "2125550142"], ids=["int", "str"])
def test_a_key_says_what_a_number_is(value: Any, out: io.StringIO) -> None:
    structlog.get_logger().info("called", phone=value, order=value)

    assert (line(out)["phone"], line(out)["order"]) == ("[PHONE_NUMBER]", value)


@pytest.mark.parametrize(
    "key",
    ["password", "db_password", "API_KEY", "apiKey", "access_token", "client_secret", "pin", "cvv"],
)
def test_a_value_under_a_telling_key_is_hidden(key: str, out: io.StringIO) -> None:
    structlog.get_logger().info("signed in", **{key: "swordfish"}, more=[{key: "swordfish"}])

    assert "swordfish" not in out.getvalue()
    assert line(out)[key] == "[SECRET]"


def test_a_secret_of_pydantic_s_never_shows(out: io.StringIO) -> None:
    class Settings(BaseModel):
        key: SecretStr

    secret = SecretStr("swordfish")
    settings = Settings(key=secret)
    LOG.info("up", one=secret, all=[secret], settings=settings, more=settings.model_dump())
    logging.getLogger().info("up %s %r", secret, settings, extra={"settings": settings})

    assert "swordfish" not in out.getvalue()
    assert out.getvalue().count("**********") >= 6


def test_what_says_nothing_stays_as_it_is(out: io.StringIO) -> None:
    values = {
        "order": "A-1001",
        "count": 3,
        "total": 123456,
        "ratio": 0.1234567,
        "done": True,
        "nothing": None,
        "input_tokens": 1200,
        "text": "Zürich, naïve",
        "version": "1.2.22",
        "path": "/srv/app/main.py",
        "at": "2026-11-22T16:37:40Z",
        "more": {"a": [1, 2.5, {"b": "c"}]},
        "event": "said",
    }
    structlog.get_logger().info(**values)

    assert line(out).items() >= values.items()


def test_what_an_object_does_not_show_stays_hidden(out: io.StringIO) -> None:
    structlog.get_logger().info("said", note=Record("x"))

    assert line(out)["note"] == {"text": "x"}


def test_what_is_no_number_in_json_is_a_text(out: io.StringIO) -> None:
    structlog.get_logger().info("said", one=float("nan"), two=[float("inf")])

    assert (line(out)["one"], line(out)["two"]) == ("nan", ["inf"])


def test_an_object_that_cannot_be_shown_is_named() -> None:
    out = io.StringIO()
    configure_logging(stream=out)

    class Broken:
        def __repr__(self) -> str:
            raise ValueError("swordfish")

    structlog.get_logger().info("said", note=Broken())

    assert line(out)["note"] == "<Broken>"


def test_what_cannot_be_searched_is_not_shown(
    out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(self: object, text: str) -> Any:
        raise DetectionFailed("a recognizer failed")

    monkeypatch.setattr("lg_prod_nodes.detectors.Detector.find", find)
    structlog.get_logger("desk").info("hello there", count=1)

    assert line(out)["event"] == "[UNREADABLE]"
    assert line(out)["count"] == 1


def test_of_a_line_that_cannot_be_written_nothing_shows(capfd: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    configure_logging(stream=out)
    logging.getLogger("desk").info("%d", "ann@example.com")

    assert line(out) == {"event": "a line was lost", "error_type": "TypeError"}
    assert capfd.readouterr() == ("", "")


FORGED = "in\n2026-11-22 [info     ] paid\r\x1b[2K\x1b]0;title\x07\x9b31m\u202eback\u2028next"


@pytest.mark.parametrize("place", PLACES)
def test_no_text_begins_a_line_or_steers_a_terminal(place: str) -> None:
    out = io.StringIO()
    configure_logging(stream=out, json=False, level="DEBUG")

    PLACES[place](FORGED)

    said = out.getvalue()
    assert said.strip()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", said)
    assert not re.search(r"^2026-11-22 \[info", said, re.MULTILINE)


def test_lines_of_an_exception_are_indented() -> None:
    out = io.StringIO()
    configure_logging(stream=out, json=False)

    STD.error("failed", exc_info=raises(Failure("in\n2026-11-22 [info] paid")))

    first, *rest = out.getvalue().splitlines()
    assert "failed" in first
    assert rest
    assert all(line.startswith("  ") for line in rest)


def test_a_traceback_shows_no_local_variables() -> None:
    out = Terminal()
    configure_logging(stream=out)
    password = "swordfish"

    try:
        raise ValueError(len(password))
    except ValueError:
        structlog.get_logger().exception("failed")

    assert "ValueError: 9" in out.getvalue()
    assert out.getvalue().count("swordfish") == 0


@pytest.mark.parametrize("strategy", ["block", "tokenize", "mask", "hash"])
def test_any_strategy_is_one_for_logs(strategy: Any) -> None:
    from lg_prod_nodes import Vault

    vault = {"vault": Vault(key=b"k" * 32)} if strategy == "tokenize" else {}
    out = io.StringIO()
    configure_logging(
        stream=out, redact=Redact("EMAIL_ADDRESS", strategy=strategy, key=b"k", **vault)
    )

    structlog.get_logger().info("said", who="ann@example.com")

    assert "ann@" not in out.getvalue()
