"""The policies, one file each; none knows another."""

from lg_prod_nodes.policies.capture_errors import CaptureErrors
from lg_prod_nodes.policies.content_filter import ContentFilter
from lg_prod_nodes.policies.metrics import Metrics
from lg_prod_nodes.policies.rate_limit import RateLimit
from lg_prod_nodes.policies.redact import Redact
from lg_prod_nodes.policies.token_usage import TokenUsage
from lg_prod_nodes.policies.tracing import Tracing

__all__ = [
    "CaptureErrors",
    "ContentFilter",
    "Metrics",
    "RateLimit",
    "Redact",
    "TokenUsage",
    "Tracing",
]
