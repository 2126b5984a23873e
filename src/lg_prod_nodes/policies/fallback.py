"""Fall back to another model, another function or a fixed answer."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langgraph.errors import GraphBubbleUp

from lg_prod_nodes.content.history import as_update
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.engine import Watched
from lg_prod_nodes.core.error_class import (
    Classify,
    check_classes,
    check_classify,
    class_of,
    type_of,
)
from lg_prod_nodes.core.errors import CircuitOpen, ConfigurationError
from lg_prod_nodes.core.policy import Policy, Recovery, Role, Site
from lg_prod_nodes.core.report import ErrorClass, Kind

_MET: ContextVar[list[int] | None] = ContextVar("fallbacks_met", default=None)
"""The fallbacks that the running call has passed through."""

_RESTING: ContextVar[frozenset[int]] = ContextVar("fallbacks_resting", default=frozenset())
"""The fallbacks that skip the running call: it goes to another model, after a call that they handled failed."""


@dataclass(frozen=True)
class Fallback(Policy):
    """Falls back to another model, function or answer when a call fails.

    A `model` is called as soon as a chat model call fails, after that model's own retries. It passes through the node's
    policies, so limits, budgets and circuits count it under its own name. Once part of a stream has been delivered, the
    error is raised instead. A `node` or an `answer` takes over from a node that failed for good, through LangGraph's
    own error handler.

    Args:
        model: Another chat model. Bind its tools if the first model has tools.
        node: A node function, whose result replaces that of the failed node.
        answer: A string for `messages`, or a state update.
        on: Error classes and exception types to fall back on. Defaults to errors that may be the dependency's fault,
            and open circuits; other rejections by policies are not included. Add `"refused"` to try another model when
            the first declines to answer.
        classify: Your own classes, which take precedence, see `class_of`.

    Raises:
        ConfigurationError: While building, if not exactly one of `model`, `node` and `answer` is given, or a class is
            unknown.

    Example:
        ```python
        harden(builder, [Fallback(model=small_model), CircuitBreaker()], nodes={"search": [Fallback(answer="...")]})
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"model"})
    role: ClassVar[Role | None] = "admit"

    model: Runnable[Any, Any] | None = field(default=None, kw_only=True, repr=False)
    node: Callable[..., Any] | None = field(default=None, kw_only=True)
    answer: Any = field(default=None, kw_only=True, repr=False)
    on: tuple[ErrorClass | type[BaseException], ...] = field(
        default=("transient", "rate_limited", "unknown", CircuitOpen), kw_only=True
    )
    classify: Classify | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        given = [name for name in ("model", "node", "answer") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigurationError(
                f"Fallback was given {' and '.join(given) or 'nothing'}; give one of model, node, answer"
            )
        if self.model is not None and not isinstance(self.model, Runnable):
            raise ConfigurationError(
                f"model is a {type(self.model).__name__}; give a chat model of LangChain"
            )
        if self.node is not None and not callable(self.node):
            raise ConfigurationError(f"node is {self.node!r}; give a function of the state")
        check_classes("on", (name for name in self.on if not isinstance(name, type)))
        check_classify(self.classify)

    @property
    def writes(self) -> frozenset[str]:
        """`messages`, if the answer is a string."""
        return frozenset({"messages"} if isinstance(self.answer, str) else ())

    @property
    def recovery(self) -> Recovery | None:
        """Recovers from errors in `on`, with the fixed answer or the other function."""
        if self.model is not None:
            return None
        return Recovery(self._takes, self._answer, self.node)

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """Model calls if there is another model; otherwise none, as an error handler takes over from nodes."""
        return frozenset({"model"}) if self.model is not None else frozenset()

    async def _answer(self, call: Call, error: BaseException | str) -> Any:
        call.emit("fell_back", policy="Fallback", error_type=type_of(error))
        return await as_update(call, self.answer)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Call the other model if the first one fails."""
        if id(self) in _RESTING.get():
            return await handler(call)
        if (met := _MET.get()) is not None:
            met.append(id(self))
            return await self._stand(call, handler, met)
        token = _MET.set(met := [id(self)])
        try:
            return await self._stand(call, handler, met)
        finally:
            _MET.reset(token)

    async def _stand(self, call: Call, handler: Handler, met: list[int]) -> Any:
        going = Watched(cast(Any, handler(call)))
        try:
            return await going
        except GraphBubbleUp:
            raise
        except Exception as error:
            if going.has_left or not self._takes(error) or not _is_chat(call):
                raise
            call.emit("fell_back", policy="Fallback", error_type=type_of(error))
            return await call.answer(await self._ask(call, met))

    def _takes(self, error: BaseException | str) -> bool:
        types = tuple(kind for kind in self.on if isinstance(kind, type))
        return isinstance(error, types) or class_of(error, self.classify) in self.on

    async def _ask(self, call: Call, met: list[int]) -> Any:
        """Return the other model's answer to a list of messages, or to several such lists."""
        model = cast(Any, self.model)
        resting, fresh = _RESTING.set(_RESTING.get().union(met)), _MET.set(None)
        try:
            if isinstance(call.input[0], BaseMessage):
                return (
                    model.invoke(call.input) if call.blocking else await model.ainvoke(call.input)
                )
            if call.blocking:
                return model.generate(call.input)
            return await model.agenerate(call.input)
        finally:
            _RESTING.reset(resting)
            _MET.reset(fresh)


def _is_chat(call: Call) -> bool:
    asked = call.input
    return isinstance(asked, list) and bool(asked) and isinstance(asked[0], (BaseMessage, list))
