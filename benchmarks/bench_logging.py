"""What a clean log costs: the same lines through plain structlog, and through `configure_logging`, in turn.

Both write JSON through the standard library's logging to nowhere. Prints the median time of a line, and its ratio to
that of plain structlog (the median of the pairs).

    python benchmarks/bench_logging.py [ROUNDS]
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from itertools import count
from statistics import median
from uuid import uuid4

import structlog
from structlog.contextvars import bound_contextvars
from structlog.stdlib import ProcessorFormatter

from lg_prod_nodes import configure_logging

LINES = 500
NUMBERS = count(1000)


class Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)


def plainly() -> None:
    """A usual configuration of structlog, of the same lines, that searches nothing."""
    handler = logging.StreamHandler(Nowhere())
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler.setFormatter(formatter)
    logging.getLogger().handlers[:] = [handler]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def searched() -> None:
    configure_logging(stream=Nowhere(), json=True)


def an_event(log: structlog.stdlib.BoundLogger) -> None:
    log.info("looked up")


def new_numbers(log: structlog.stdlib.BoundLogger) -> None:
    log.info("looked up", order=f"A-{next(NUMBERS)}", seconds=0.25, found=True, tries=3)


def new_words(log: structlog.stdlib.BoundLogger) -> None:
    log.info("looked up the order %d of a customer in the warehouse by the river", next(NUMBERS))


def an_address(log: structlog.stdlib.BoundLogger) -> None:
    log.info("looked up", who=f"ann{next(NUMBERS)}@example.com")


def a_failure(log: structlog.stdlib.BoundLogger) -> None:
    try:
        raise ValueError(f"order {next(NUMBERS)} is not known")
    except ValueError:
        log.exception("failed")


CASES: dict[str, Callable[[structlog.stdlib.BoundLogger], None]] = {
    "an event": an_event,
    "values, one of them new": new_numbers,
    "a new sentence": new_words,
    "an address, to be hidden": an_address,
    "a new traceback": a_failure,
}


@contextmanager
def in_a_run():  # type: ignore[no-untyped-def]
    """The ids that `Tracing` binds."""
    trace = {"trace_id": uuid4().hex, "span_id": uuid4().hex[:16], "run_id": str(uuid4())}
    who = {
        "graph": "desk",
        "thread_id": "thread-7",
        "user_id": "ada",
        "node": "agent",
        "attempt": 1,
    }
    with bound_contextvars(**trace, **who):
        yield


def seconds_a_line(configure: Callable[[], None], case: Callable[..., None]) -> float:
    structlog.reset_defaults()
    configure()
    log = structlog.get_logger("bench")
    with in_a_run():
        case(log)
        start = time.perf_counter()
        for _ in range(LINES):
            case(log)
        return (time.perf_counter() - start) / LINES


def main(rounds: int) -> None:
    logging.getLogger().setLevel("INFO")
    print(f"{'a line in a run, with 8 ids:':<30} {'structlog':>10} {'searched':>10} {'ratio':>7}")
    for name, case in CASES.items():
        pairs = [
            (seconds_a_line(plainly, case), seconds_a_line(searched, case)) for _ in range(rounds)
        ]
        theirs, ours = (median(times) * 1e6 for times in zip(*pairs, strict=True))
        ratio = median(ours / theirs for theirs, ours in pairs)
        print(f"{name:<30} {theirs:>7.1f} us {ours:>7.1f} us {ratio:>7.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
