from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from structlog.contextvars import bound_contextvars
from tests.conftest import restore_structlog, structlog_config

from lg_prod_nodes.core import log

PROGRAM = """
import logging
import structlog
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict
from lg_prod_nodes import CaptureErrors, Tracing, harden

class State(TypedDict):
    text: str

def node(state):
    raise ValueError(state["text"])

policies = [Tracing({options}), CaptureErrors(then="continue")]
graph = harden(StateGraph(State).add_node("node", node).add_edge(START, "node"), policies).compile()
{configuration}
ids = {{"thread_id": "t-1", "user_id": "u-7", "request_id": "r-1"}}
graph.invoke({{"text": "ann@example.com"}}, {{"configurable": ids}})
"""
CAPTURED = (
    "ERROR:lg_prod_nodes:error captured node=node error_type=ValueError error_class=bad_input "
    "attempts=1 then=continue graph=LangGraph request_id="
)


def said(configuration: str = "", options: str = "") -> str:
    """What a program writes, to the standard output and the standard error."""
    program = PROGRAM.format(configuration=configuration, options=options)
    ran = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    assert "ann@example.com" not in ran.stdout
    return ran.stdout


def test_nothing_is_written_by_default() -> None:
    assert said(options="log_runs=True") == ""


def test_basic_config_shows_the_lines_with_their_values_and_ids() -> None:
    (line,) = said("logging.basicConfig(level='INFO')").splitlines()

    assert line.startswith(CAPTURED)
    assert {"request_id=r-1", "thread_id=t-1", "user_id=u-7"} < set(line.split())


def test_runs_are_logged_on_request() -> None:
    started, _, ended = said("logging.basicConfig(level='INFO')", "log_runs=True").splitlines()

    assert started.startswith("INFO:lg_prod_nodes:run started resumed=False graph=LangGraph ")
    assert ended.startswith("INFO:lg_prod_nodes:run ended outcome=ok seconds=0.")


def test_the_level_of_the_logger_silences_the_lines() -> None:
    silent = "logging.basicConfig(); logging.getLogger('lg_prod_nodes').setLevel('CRITICAL')"

    assert said(silent) == ""


def test_a_structlog_that_is_configured_after_the_import_takes_the_lines_over() -> None:
    (line,) = said(
        "structlog.configure(processors=[structlog.contextvars.merge_contextvars,"
        " structlog.processors.add_log_level, structlog.processors.JSONRenderer()])"
    ).splitlines()

    assert '"event": "error captured"' in line
    assert '"user_id": "u-7"' in line
    assert '"level": "error"' in line


def test_the_level_of_the_logger_holds_for_structlog_too() -> None:
    silent = "structlog.configure(); logging.getLogger('lg_prod_nodes').setLevel('CRITICAL')"

    assert said(silent) == ""


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """What the standard library's logging writes, with structlog as it is when nobody has configured it."""
    before, stream = structlog_config(), io.StringIO()
    structlog.reset_defaults()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(filename)s %(message)s"))
    log.LOGGER.addHandler(handler)
    log.LOGGER.setLevel(logging.INFO)
    yield stream
    log.LOGGER.removeHandler(handler)
    log.LOGGER.setLevel(logging.NOTSET)
    restore_structlog(before)


def test_a_line_names_the_file_that_logs_it(out: io.StringIO) -> None:
    log.warning("grace is over", runs=2)

    assert out.getvalue() == "WARNING test_log.py grace is over runs=2\n"


def test_values_neither_begin_a_line_nor_pass_for_others(out: io.StringIO) -> None:
    with bound_contextvars(user_id="u-7\nERROR forged", thread_id="1 then=end"):
        log.info("draining", reason="SIGTERM")

    assert out.getvalue() == (
        "INFO test_log.py draining reason=SIGTERM "
        r"thread_id='1 then=end' user_id='u-7\nERROR forged'"
        "\n"
    )


def test_what_a_line_says_itself_is_not_replaced_by_what_is_bound(out: io.StringIO) -> None:
    with bound_contextvars(node="outer"):
        log.error("error captured", node="inner")

    assert out.getvalue() == "ERROR test_log.py error captured node=inner\n"


def test_a_line_imports_no_structlog() -> None:
    program = "import sys; from lg_prod_nodes.core import log; log.info('x'); print('structlog' in sys.modules)"
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert made.stdout == b"False\n"
