"""All patches of other libraries, in one table that the first hardened graph installs.

A node's function calls models, tools and graphs directly, and no public API lets the node's policies reach those calls.
So the methods that all such calls pass through first check whether a guarded node is running (`scope.py`). If none is,
they behave as before. `uninstall()` restores all of them. Models and tools passed to `guard` need no patch.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any, cast

import wrapt

from lg_prod_nodes.core.tracebacks import shorten
from lg_prod_nodes.runtime.answers import OF_ANSWERS
from lg_prod_nodes.runtime.graph import called_graph
from lg_prod_nodes.runtime.model_shell import is_shell
from lg_prod_nodes.runtime.models import (
    OF_CHAT_MODELS,
    OF_DECISION_MODELS,
    OF_EMBEDDINGS,
    OF_TEXT_MODELS,
)
from lg_prod_nodes.runtime.remote import OF_REMOTE_GRAPHS
from lg_prod_nodes.runtime.scope import OPEN, SCOPE, current_scope, warn_if_context_is_lost
from lg_prod_nodes.runtime.tools import OF_RETRIEVERS, OF_TOOLS

Guarded = Callable[..., Any]


@dataclass(frozen=True)
class Patch:
    """A class whose methods first look up the scope of each call.

    Attributes:
        target: The class, as `module:name`; skipped if the installed version of its library lacks it.
        methods: The replacements for its methods inside a scope. Each gets the scope, the original method and the
            arguments, the first of them by position.
        reason: Why no public API will do.
        test: The test that fails when the class changes.
        subclasses: Whether subclasses that override the methods are patched too, including later ones.
        loads: Whether to import the class's module; else it is patched once the application has imported it.
    """

    target: str
    methods: Mapping[str, Guarded]
    reason: str
    test: str
    subclasses: bool = True
    loads: bool = True


_OWN = "a node calls it by itself; callbacks cannot change what it gets or says, or refuse the call"

TABLE: tuple[Patch, ...] = (
    Patch(
        "langchain_core.language_models:BaseChatModel",
        OF_CHAT_MODELS,
        _OWN,
        "tests/runtime/test_patches.py::test_policies_reach_every_way_to_call_a_chat_model",
    ),
    Patch(
        "langchain_core.language_models:BaseLLM",
        OF_TEXT_MODELS,
        _OWN,
        "tests/runtime/test_patches.py::test_policies_reach_every_way_to_call_a_text_model",
    ),
    Patch(
        "langchain_core.decisions:BaseDecisionModel",
        OF_DECISION_MODELS,
        _OWN,
        "tests/runtime/test_patches.py::test_policies_reach_decision_models",
    ),
    Patch(
        "langchain_core.embeddings:Embeddings",
        OF_EMBEDDINGS,
        f"{_OWN}; embeddings have no callbacks at all",
        "tests/runtime/test_patches.py::test_policies_reach_embeddings",
    ),
    Patch(
        "langchain_core.retrievers:BaseRetriever",
        OF_RETRIEVERS,
        _OWN,
        "tests/runtime/test_patches.py::test_policies_reach_retrievers",
    ),
    Patch(
        "langchain_core.tools:BaseTool",
        OF_TOOLS,
        _OWN,
        "tests/runtime/test_patches.py::test_policies_reach_tools",
    ),
    Patch(
        "langgraph.pregel:Pregel",
        {name: partial(called_graph, name) for name in ("stream", "astream")},
        "a node's function calls the graph by itself, so it is not among the nodes that `harden` clones",
        "tests/runtime/test_patches.py::test_content_policies_reach_a_graph_that_a_function_calls",
        subclasses=False,
    ),
    Patch(
        "langgraph.pregel.remote:RemoteGraph",
        OF_REMOTE_GRAPHS,
        "it sends what the server streams into the parent's stream by itself",
        "tests/runtime/test_remote_graphs.py::test_every_mode_is_filtered",
        subclasses=False,
    ),
    Patch(
        "langchain.agents.structured_output:OutputToolBinding",
        OF_ANSWERS,
        "the agent catches whatever its parsing raises, and asks the model again, without end",
        "tests/policies/test_misfits.py::test_a_structured_answer_that_cannot_be_valid_ends_the_run",
        subclasses=False,
        loads=False,
    ),
)

_lock = threading.Lock()
_originals: list[tuple[type[Any], str, Any]] = []
_patched: set[str] = set()
_is_wanted = True


def install() -> None:
    """Patch everything in the table that is not patched yet."""
    global _is_wanted
    with _lock:
        _is_wanted = True
        _install()


def install_once() -> None:
    """Patch everything in the table with the first hardened graph, unless `uninstall` was called."""
    with _lock:
        if _is_wanted:
            _install()


def uninstall() -> None:
    """Restore everything that was patched. Graphs hardened later patch nothing until `install()` is called."""
    global _is_wanted
    with _lock:
        _is_wanted = False
        _patched.clear()
        while _originals:
            cls, name, original = _originals.pop()
            if original is None:
                delattr(cls, name)
            else:
                setattr(cls, name, original)


@cache
def guarded_methods(cls: type[Any]) -> Mapping[str, Guarded]:
    """The replacements for a class's methods inside a scope; empty if the table does not cover the class."""
    for patch in TABLE:
        base = _resolved(patch)
        if patch.subclasses and base is not None and issubclass(cls, base):
            return patch.methods
    return {}


def _resolved(patch: Patch) -> type[Any] | None:
    module, _, name = patch.target.partition(":")
    if not (patch.loads or module in sys.modules):
        return None
    try:
        return cast("type[Any]", getattr(import_module(module), name))
    except (ImportError, AttributeError):
        return None


def _install() -> None:
    for patch in TABLE:
        cls = _resolved(patch) if patch.target not in _patched else None
        if cls is None:
            continue
        _patched.add(patch.target)
        _patch(cls, patch.methods)
        if patch.subclasses:
            _patch_below(cls, patch.methods)
            _patch_later(cls, patch.methods)


def _patch_below(cls: type[Any], methods: Mapping[str, Guarded]) -> None:
    for below in cls.__subclasses__():
        _patch(below, methods)
        _patch_below(below, methods)


def _patch_later(cls: type[Any], methods: Mapping[str, Guarded]) -> None:
    """Patch subclasses that are defined from now on."""
    own = vars(cls).get("__init_subclass__")

    def hook(sub: type[Any], /, **kwargs: Any) -> None:
        if own is not None:
            own.__func__(sub, **kwargs)
        else:
            super(cls, sub).__init_subclass__(**kwargs)
        with _lock:
            if _originals:
                _patch(sub, methods)

    _set(cls, "__init_subclass__", classmethod(hook))


def _patch(cls: type[Any], methods: Mapping[str, Guarded]) -> None:
    for name, guarded in methods.items():
        native = vars(cls).get(name)
        if inspect.isfunction(native) and not isinstance(native, wrapt.FunctionWrapper):
            _set(cls, name, wrapt.FunctionWrapper(native, _looking(native, guarded)))


def _set(cls: type[Any], name: str, value: Any) -> None:
    _originals.append((cls, name, vars(cls).get(name)))
    setattr(cls, name, value)


def _looking(native: Any, guarded: Guarded) -> Callable[..., Any]:
    """A method that looks up the scope of each call, and calls the original if there is none."""
    first = [*inspect.signature(native).parameters, ""][1]

    ambient, elsewhere = SCOPE.get, OPEN

    def call(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        try:
            if ambient() is None and not elsewhere:  # the cost for unguarded code
                return wrapped(*args, **kwargs)
            scope = current_scope(args, kwargs)
            if scope is None:
                warn_if_context_is_lost()
                return wrapped(*args, **kwargs)
            if is_shell(instance):
                return wrapped(*args, **kwargs)
            if first in kwargs:
                args = (kwargs.pop(first), *args)
            return guarded(scope, native, instance, *args, **kwargs)
        except Exception as error:
            shorten(error)
            raise

    return call
