"""Something else in the place of what fails: another model, another function, a fixed answer."""

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
"""The fallbacks that the call which goes on has met."""

_RESTING: ContextVar[frozenset[int]] = ContextVar("fallbacks_resting", default=frozenset())
"""Those that leave a call alone: it is one of another model, and the call that failed has met them."""


@dataclass(frozen=True)
class Fallback(Policy):
    """Gives something else when a call fails with an error of some classes.

    A `model` is asked when a call of a chat model fails: at once, since its own retries are over by then. It is called
    through the node's policies, so limits, budgets and circuits count it by its own name. Once pieces of a stream have
    left, the error is raised. A `node` or an `answer` takes over from a node that has failed for good, as LangGraph's
    own error handler.

    Args:
        model: Another chat model; with its tools bound, where the first one has tools.
        node: A function like a node's: what it gives stands in for the failed node's own.
        answer: A text for `messages`, or an update of the state.
        on: Classes and types of errors. By default what may lie in the dependency, and an open circuit; never what a
            policy refuses otherwise. Add `"refused"` to ask another model what the first one declined to answer.
        classify: Classes of one's own, asked first, see `class_of`.

    Raises:
        ConfigurationError: While building, unless one of `model`, `node` and `answer` is given, or a class is not
            known.

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
        """`messages`, for an answer that is a text."""
        return frozenset({"messages"} if isinstance(self.answer, str) else ())

    @property
    def recovery(self) -> Recovery | None:
        """From errors of its classes and types, with the fixed answer or the other function."""
        if self.model is not None:
            return None
        return Recovery(self._takes, self._answer, self.node)

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """Model calls, for another model; nodes are taken over from by an error handler."""
        return frozenset({"model"}) if self.model is not None else frozenset()

    async def _answer(self, call: Call, error: BaseException | str) -> Any:
        call.emit("fell_back", policy="Fallback", error_type=type_of(error))
        return await as_update(call, self.answer)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Ask the other model where the first one fails."""
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
        """What the other model says: to a list of messages, or to several such lists."""
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
