"""The public names and where they are: loaded when they are first used, so that the import itself is light."""

from .agents import as_middleware as as_middleware
from .call import Call as Call
from .call import Clock as Clock
from .call import Fact as Fact
from .call import Handler as Handler
from .errors import (
    CallRejected as CallRejected,
)
from .errors import (
    ConfigurationError as ConfigurationError,
)
from .errors import (
    ContentBlocked as ContentBlocked,
)
from .errors import (
    DetectionFailed as DetectionFailed,
)
from .errors import (
    ProductionError as ProductionError,
)
from .errors import (
    RateLimitExceeded as RateLimitExceeded,
)
from .errors import (
    StoreUnavailable as StoreUnavailable,
)
from .errors import (
    UnknownToken as UnknownToken,
)
from .errors import (
    VaultTampered as VaultTampered,
)
from .graphs import harden as harden
from .keys import by_thread as by_thread
from .keys import by_user as by_user
from .ledger import Ledger as Ledger
from .nodes import as_node as as_node
from .policies.capture_errors import CaptureErrors as CaptureErrors
from .policies.content_filter import ContentFilter as ContentFilter
from .policies.metrics import Metrics as Metrics
from .policies.rate_limit import RateLimit as RateLimit
from .policies.redact import Redact as Redact
from .policies.token_usage import TokenUsage as TokenUsage
from .policies.tracing import Tracing as Tracing
from .policies.tracing import trace_headers as trace_headers
from .policy import Policy as Policy
from .policy import guard as guard
from .production import Production as Production
from .run import (
    CapturedError as CapturedError,
)
from .run import (
    Run as Run,
)
from .run import (
    RunReport as RunReport,
)
from .run import (
    Usage as Usage,
)
from .run import (
    current_run as current_run,
)
from .stores.limits import LimitStore as LimitStore
from .stores.vault import Vault as Vault

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
    "UnknownToken",
    "Usage",
    "Vault",
    "VaultTampered",
    "as_middleware",
    "as_node",
    "by_thread",
    "by_user",
    "current_run",
    "guard",
    "harden",
    "trace_headers",
]
