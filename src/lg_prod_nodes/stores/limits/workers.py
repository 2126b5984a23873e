"""Whether this process is one of several workers of a service, as far as it can see."""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import PurePath
from typing import Any

from lg_prod_nodes.core.cautions import MemoryStoreWarning

_SERVERS = frozenset({"gunicorn", "uvicorn", "hypercorn", "granian", "fastapi"})
_OPTIONS = ("--workers", "-w")


@cache
def warn_of_workers() -> None:
    """Warn once that windows in memory count for each worker separately."""
    if (workers := visible_workers(sys.argv, os.environ)) > 1:
        warnings.warn(
            f"{workers} workers serve here, and a rate limit in memory:// counts for each of them separately, so up to "
            f"{workers} times as many calls pass; give RateLimit a store that all workers share, such as "
            "store='redis://host:6379' or store='postgresql://host/database'",
            MemoryStoreWarning,
            stacklevel=4,
        )


def visible_workers(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """How many processes serve the same: by a server's command line, its settings, or `WEB_CONCURRENCY`."""
    process = multiprocessing.current_process()
    config = getattr(process, "_kwargs", {}).get("config")  # of uvicorn, in a child that it made
    candidates: list[Any] = [environ.get("WEB_CONCURRENCY"), getattr(config, "workers", None)]
    if arguments and _is_server(arguments[0]):
        candidates.append(_option(arguments))
    if environ.get("SERVER_SOFTWARE", "").startswith("gunicorn"):
        candidates.append(_option(environ.get("GUNICORN_CMD_ARGS", "").split()))
    return max(map(_number, candidates))


def _is_server(program: str) -> bool:
    path = PurePath(program)
    return bool(_SERVERS & {path.name, path.parent.name})  # the latter for `python -m uvicorn`


def _option(arguments: Sequence[str]) -> str | None:
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, value = argument.partition("=")
        if name in _OPTIONS:
            return value or following
        if argument.startswith("-w") and argument[2:].isdecimal():
            return argument[2:]
    return None


def _number(text: object) -> int:
    return int(str(text)) if str(text).isdecimal() else 1
