"""Imports what `langgraph.json` names, in a separate process: an import may do anything, and may never return.

It reads references as JSON from standard input, and writes each result as soon as it has it, one line of JSON each.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

ImportFinding = tuple[str, str, str]
"""Status, finding, advice."""


def main() -> None:
    """Resolve the references read from standard input."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # the output of imported modules is not part of the result
        asked = json.load(sys.stdin)
        sys.path += asked["paths"]
        for at, (kind, place) in enumerate(asked["places"]):
            _tell(out, at, None)
            _tell(out, at, _finding(kind, place))


def _tell(out: TextIO, at: int, finding: ImportFinding | None) -> None:
    out.write(json.dumps([at, finding]) + "\n")
    out.flush()


def _finding(kind: str, place: str) -> ImportFinding:
    try:
        module, name = _module_at(kind, place)
    except BaseException as error:  # a module may also exit
        return "failed", f"{place} cannot be imported: {_where(error)}", _import_advice(error)
    if name not in vars(module):
        return "failed", f"{place} is not there", f"define {name} in that module"
    try:
        return _KINDS[kind](vars(module)[name])
    except Exception as error:
        return "failed", f"{place} cannot be compiled: {_where(error)}", "correct the graph"


def _module_at(kind: str, place: str) -> tuple[ModuleType, str]:
    """Import a module by the server's rules; return it with the name to look up."""
    if "/" in place or ".py:" in place:
        path, _, name = place.rpartition(":")
        alias = Path(path).as_posix().replace("/", "__").removesuffix(".py").lstrip(".")
        spec = importlib.util.spec_from_file_location(alias, path)
        if spec is None or spec.loader is None:
            raise ImportError(path)
        module = sys.modules[alias] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module, name
    path, _, name = place.rpartition("." if kind in ("checkpointer", "store") else ":")
    return importlib.import_module(path), name


def _where(error: BaseException) -> str:
    """Describe an error by its type and location; its message may contain anything."""
    place, traceback = "", error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith("<") and Path(code.co_filename) != Path(__file__):
            place = f" at {Path(code.co_filename).name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        place = f" at {Path(error.filename).name}:{error.lineno}"
    missing = f" of {error.name}" if isinstance(error, ModuleNotFoundError) else ""
    return f"{type(error).__name__}{missing}{place}"


def _import_advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "install it, or name its folder under dependencies"
    if isinstance(error, FileNotFoundError):
        return "correct the path, which begins at the folder of langgraph.json"
    return "import it yourself to see the error's text"


def _graph(found: Any) -> ImportFinding:
    from langgraph.graph import StateGraph
    from langgraph.pregel import Pregel

    from lg_prod_nodes.service.production import Production

    if isinstance(found, Production):
        return (
            "failed",
            "a Production, which owns its database",
            "hand over harden(builder, policies)",
        )
    if isinstance(found, StateGraph):
        found.compile()
        return "ok", "a StateGraph, which compiles", ""
    if isinstance(found, Pregel):
        return _compiled(found)
    if callable(found):
        return "ok", "a factory, which was not called", ""
    return (
        "failed",
        f"a {type(found).__name__}, which is no graph",
        "name a StateGraph, a compiled graph or a factory",
    )


def _compiled(graph: Any) -> ImportFinding:
    own = [name for name in ("checkpointer", "store") if getattr(graph, name)]
    if own:
        return (
            "failed",
            f"compiled with a {' and a '.join(own)} of its own",
            "compile without: the server brings its own",
        )
    return "ok", "a compiled graph", ""


def _factory_of(kind: str) -> Callable[[Any], ImportFinding]:
    def check(found: Any) -> ImportFinding:
        from langgraph.checkpoint.base import BaseCheckpointSaver
        from langgraph.store.base import BaseStore

        if callable(found) or isinstance(found, (BaseCheckpointSaver, BaseStore)):
            return "ok", f"a {kind}, which was not opened", ""
        return (
            "failed",
            f"a {type(found).__name__}, which is no {kind}",
            "name an asynchronous context manager, such as lg_prod_nodes.service.persistence's",
        )

    return check


def _app(found: Any) -> ImportFinding:
    if any(kind.__module__ == "starlette.applications" for kind in type(found).__mro__):
        return "ok", f"a {type(found).__name__}", ""
    advice = "name a Starlette or FastAPI application"
    return "failed", f"a {type(found).__name__}, which is no application", advice


def _auth(found: Any) -> ImportFinding:
    from langgraph_sdk import Auth

    if isinstance(found, Auth):
        return "ok", "an Auth", ""
    return "failed", f"a {type(found).__name__}, which is no Auth", "name a langgraph_sdk.Auth"


def _anything(found: Any) -> ImportFinding:
    return "ok", f"a {type(found).__name__}", ""


_KINDS: dict[str, Callable[[Any], ImportFinding]] = {
    "graph": _graph,
    "checkpointer": _factory_of("checkpointer"),
    "store": _factory_of("store"),
    "http.app": _app,
    "auth": _auth,
    "encryption": _anything,
    "priority": _anything,
}

if __name__ == "__main__":
    main()
