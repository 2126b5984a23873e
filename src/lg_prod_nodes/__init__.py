"""The production toolkit for LangGraph: one import and one line from a laptop's graph to a service."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lg_prod_nodes.call import Call, Clock, Fact, Handler
from lg_prod_nodes.errors import (
    CallRejected,
    ConfigurationError,
    ContentBlocked,
    DetectionFailed,
    ProductionError,
    RateLimitExceeded,
    StoreUnavailable,
)
from lg_prod_nodes.graphs import harden
from lg_prod_nodes.keys import by_thread, by_user
from lg_prod_nodes.ledger import Ledger
from lg_prod_nodes.nodes import as_node
from lg_prod_nodes.policies import (
    CaptureErrors,
    ContentFilter,
    Metrics,
    RateLimit,
    Redact,
    TokenUsage,
    Tracing,
)
from lg_prod_nodes.policies.tracing import trace_headers
from lg_prod_nodes.policy import Policy, guard
from lg_prod_nodes.production import Production
from lg_prod_nodes.run import CapturedError, Run, RunReport, Usage, current_run
from lg_prod_nodes.stores import LimitStore

if TYPE_CHECKING:
    from lg_prod_nodes.agents import as_middleware

__all__ = [
    "Call",
    "CallRejected",
    "CaptureErrors",
    "CapturedError",
    "Clock",
    "ConfigurationError",
    "ContentBlocked",
    "ContentFilter",
    "DetectionFailed",
    "Fact",
    "Handler",
    "Ledger",
    "LimitStore",
    "Metrics",
    "Policy",
    "Production",
    "ProductionError",
    "RateLimit",
    "RateLimitExceeded",
    "Redact",
    "Run",
    "RunReport",
    "StoreUnavailable",
    "TokenUsage",
    "Tracing",
    "Usage",
    "as_middleware",
    "as_node",
    "by_thread",
    "by_user",
    "current_run",
    "guard",
    "harden",
    "trace_headers",
]


def __getattr__(name: str) -> Any:
    if name == "as_middleware":  # needs an extra, so it is imported when it is first used
        return import_module("lg_prod_nodes.agents").as_middleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
