"""The public names and where they are: loaded when they are first used, so that the import itself is light."""

from .agents import as_middleware as as_middleware
from .call import Call as Call
from .call import Clock as Clock
from .call import Fact as Fact
from .call import Handler as Handler
from .errors import (
    BudgetExceeded as BudgetExceeded,
)
from .errors import (
    Busy as Busy,
)
from .errors import (
    CallRejected as CallRejected,
)
from .errors import (
    CircuitOpen as CircuitOpen,
)
from .errors import (
    ConfigurationError as ConfigurationError,
)
from .errors import (
    ContentBlocked as ContentBlocked,
)
from .errors import (
    DeadlineExceeded as DeadlineExceeded,
)
from .errors import (
    DetectionFailed as DetectionFailed,
)
from .errors import (
    MemoryStoreWarning as MemoryStoreWarning,
)
from .errors import (
    ProductionError as ProductionError,
)
from .errors import (
    RateLimitExceeded as RateLimitExceeded,
)
from .errors import (
    RetriesWarning as RetriesWarning,
)
from .errors import (
    ShuttingDown as ShuttingDown,
)
from .errors import (
    StoreUnavailable as StoreUnavailable,
)
from .errors import (
    UnknownFailure as UnknownFailure,
)
from .errors import (
    UnknownToken as UnknownToken,
)
from .errors import (
    VaultTampered as VaultTampered,
)
from .graphs import harden as harden
from .health import Check as Check
from .health import CheckResult as CheckResult
from .health import Health as Health
from .health import HealthReport as HealthReport
from .health import health_app as health_app
from .keys import by_assistant as by_assistant
from .keys import by_node as by_node
from .keys import by_run as by_run
from .keys import by_tenant as by_tenant
from .keys import by_thread as by_thread
from .keys import by_user as by_user
from .ledger import Ledger as Ledger
from .logs import configure_logging as configure_logging
from .nodes import as_node as as_node
from .policies.budgets import CostBudget as CostBudget
from .policies.budgets import TokenBudget as TokenBudget
from .policies.bulkhead import Bulkhead as Bulkhead
from .policies.capture_errors import CaptureErrors as CaptureErrors
from .policies.circuit_breaker import CircuitBreaker as CircuitBreaker
from .policies.content_filter import ContentFilter as ContentFilter
from .policies.deadline import Deadline as Deadline
from .policies.fallback import Fallback as Fallback
from .policies.metrics import Metrics as Metrics
from .policies.rate_limit import RateLimit as RateLimit
from .policies.rate_limit import by_tokens as by_tokens
from .policies.redact import Redact as Redact
from .policies.run_budget import RunBudget as RunBudget
from .policies.timeout import Timeout as Timeout
from .policies.token_usage import TokenUsage as TokenUsage
from .policies.tracing import Tracing as Tracing
from .policies.tracing import trace_headers as trace_headers
from .policy import Policy as Policy
from .policy import guard as guard
from .production import Production as Production
from .retries import RetryBudget as RetryBudget
from .run import (
    CapturedError as CapturedError,
)
from .run import (
    LimitState as LimitState,
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
from .settings import Settings as Settings
from .shutdown import GracefulShutdown as GracefulShutdown
from .stores.accounts import Account as Account
from .stores.accounts import AccountStore as AccountStore
from .stores.circuits import CircuitStore as CircuitStore
from .stores.failures import Failure as Failure
from .stores.failures import FailureLog as FailureLog
from .stores.limits import LimitStore as LimitStore
from .stores.vault import Vault as Vault
from .taxonomy import ErrorClass as ErrorClass
from .taxonomy import class_of as class_of
from .taxonomy import is_transient as is_transient
from .taxonomy import retry_after_of as retry_after_of
from .telemetry.prometheus import metrics_text as metrics_text
from .web import rate_limit_headers as rate_limit_headers

__all__ = [
    "Account",
    "AccountStore",
    "BudgetExceeded",
    "Bulkhead",
    "Busy",
    "Call",
    "CallRejected",
    "CaptureErrors",
    "CapturedError",
    "Check",
    "CheckResult",
    "CircuitBreaker",
    "CircuitOpen",
    "CircuitStore",
    "Clock",
    "ConfigurationError",
    "ContentBlocked",
    "ContentFilter",
    "CostBudget",
    "Deadline",
    "DeadlineExceeded",
    "DetectionFailed",
    "ErrorClass",
    "Fact",
    "Failure",
    "FailureLog",
    "Fallback",
    "GracefulShutdown",
    "Handler",
    "Health",
    "HealthReport",
    "Ledger",
    "LimitState",
    "LimitStore",
    "MemoryStoreWarning",
    "Metrics",
    "Policy",
    "Production",
    "ProductionError",
    "RateLimit",
    "RateLimitExceeded",
    "Redact",
    "RetriesWarning",
    "RetryBudget",
    "Run",
    "RunBudget",
    "RunReport",
    "Settings",
    "ShuttingDown",
    "StoreUnavailable",
    "Timeout",
    "TokenBudget",
    "TokenUsage",
    "Tracing",
    "UnknownFailure",
    "UnknownToken",
    "Usage",
    "Vault",
    "VaultTampered",
    "as_middleware",
    "as_node",
    "by_assistant",
    "by_node",
    "by_run",
    "by_tenant",
    "by_thread",
    "by_tokens",
    "by_user",
    "class_of",
    "configure_logging",
    "current_run",
    "guard",
    "harden",
    "health_app",
    "is_transient",
    "metrics_text",
    "rate_limit_headers",
    "retry_after_of",
    "trace_headers",
]
