"""The public names and where they are: loaded when they are first used, so that the import itself is light."""

from .attach.as_middleware import as_middleware as as_middleware
from .attach.as_node import as_node as as_node
from .attach.client import connect as connect
from .attach.client import connect_sync as connect_sync
from .attach.client import converse as converse
from .attach.guard import guard as guard
from .attach.harden import harden as harden
from .attach.reported import reported as reported
from .content.location import At as At
from .core.call import Call as Call
from .core.call import Handler as Handler
from .core.cautions import (
    ClaimedUserWarning as ClaimedUserWarning,
)
from .core.cautions import (
    LostContextWarning as LostContextWarning,
)
from .core.cautions import (
    MemoryStoreWarning as MemoryStoreWarning,
)
from .core.cautions import (
    RetriesWarning as RetriesWarning,
)
from .core.clock import Clock as Clock
from .core.error_class import class_of as class_of
from .core.error_class import is_transient as is_transient
from .core.error_class import retry_after_of as retry_after_of
from .core.errors import (
    AlreadyRun as AlreadyRun,
)
from .core.errors import (
    AnonymousCall as AnonymousCall,
)
from .core.errors import (
    BudgetExceeded as BudgetExceeded,
)
from .core.errors import (
    Busy as Busy,
)
from .core.errors import (
    CallRejected as CallRejected,
)
from .core.errors import (
    CircuitOpen as CircuitOpen,
)
from .core.errors import (
    ConfigurationError as ConfigurationError,
)
from .core.errors import (
    ContentBlocked as ContentBlocked,
)
from .core.errors import (
    DeadlineExceeded as DeadlineExceeded,
)
from .core.errors import (
    DetectionFailed as DetectionFailed,
)
from .core.errors import (
    EventsExpired as EventsExpired,
)
from .core.errors import (
    LeaseLost as LeaseLost,
)
from .core.errors import (
    ProductionError as ProductionError,
)
from .core.errors import (
    RateLimitExceeded as RateLimitExceeded,
)
from .core.errors import (
    RunInterrupted as RunInterrupted,
)
from .core.errors import (
    ServerUnavailable as ServerUnavailable,
)
from .core.errors import (
    ShuttingDown as ShuttingDown,
)
from .core.errors import (
    StoreUnavailable as StoreUnavailable,
)
from .core.errors import (
    ThreadBusy as ThreadBusy,
)
from .core.errors import (
    UnknownFailure as UnknownFailure,
)
from .core.errors import (
    UnknownToken as UnknownToken,
)
from .core.errors import (
    UntrustedType as UntrustedType,
)
from .core.errors import (
    VaultTampered as VaultTampered,
)
from .core.keys import by_assistant as by_assistant
from .core.keys import by_node as by_node
from .core.keys import by_run as by_run
from .core.keys import by_tenant as by_tenant
from .core.keys import by_thread as by_thread
from .core.keys import by_user as by_user
from .core.policy import Policy as Policy
from .core.report import (
    CapturedError as CapturedError,
)
from .core.report import ErrorClass as ErrorClass
from .core.report import Event as Event
from .core.report import (
    LimitState as LimitState,
)
from .core.report import (
    RunReport as RunReport,
)
from .core.run import (
    Run as Run,
)
from .core.run import (
    current_run as current_run,
)
from .core.usage import (
    Usage as Usage,
)
from .ledger import Ledger as Ledger
from .ledger import list_price as list_price
from .policies.budgets import CostBudget as CostBudget
from .policies.budgets import TokenBudget as TokenBudget
from .policies.bulkhead import Bulkhead as Bulkhead
from .policies.capture_errors import CaptureErrors as CaptureErrors
from .policies.circuit_breaker import CircuitBreaker as CircuitBreaker
from .policies.content_filter import ContentFilter as ContentFilter
from .policies.deadline import Deadline as Deadline
from .policies.deadline import Timeout as Timeout
from .policies.double_texting import DoubleTexting as DoubleTexting
from .policies.fallback import Fallback as Fallback
from .policies.metrics import Metrics as Metrics
from .policies.rate_limit import RateLimit as RateLimit
from .policies.rate_limit import by_tokens as by_tokens
from .policies.redact import Redact as Redact
from .policies.retry_budget import RetryBudget as RetryBudget
from .policies.run_budget import RunBudget as RunBudget
from .policies.token_usage import TokenUsage as TokenUsage
from .policies.tracing import Tracing as Tracing
from .policies.tracing import trace_headers as trace_headers
from .runtime.patches import install as install
from .runtime.patches import uninstall as uninstall
from .service.health import Check as Check
from .service.health import CheckResult as CheckResult
from .service.health import Health as Health
from .service.health import HealthReport as HealthReport
from .service.health import health_app as health_app
from .service.logs import configure_logging as configure_logging
from .service.persistence import checkpointer as checkpointer
from .service.persistence import store as store
from .service.production import Production as Production
from .service.settings import Settings as Settings
from .service.shutdown import GracefulShutdown as GracefulShutdown
from .service.web import RunStreams as RunStreams
from .service.web import problem_handlers as problem_handlers
from .service.web import problem_of as problem_of
from .service.web import rate_limit_headers as rate_limit_headers
from .stores.accounts.store import Account as Account
from .stores.accounts.store import AccountStore as AccountStore
from .stores.circuits.store import CircuitStore as CircuitStore
from .stores.failures.store import Failure as Failure
from .stores.failures.store import FailureLog as FailureLog
from .stores.limits.store import LimitStore as LimitStore
from .stores.threads.store import ThreadStore as ThreadStore
from .stores.vault.store import Vault as Vault
from .telemetry.prometheus import metrics_text as metrics_text

__version__: str

__all__ = [
    "Account",
    "AccountStore",
    "AlreadyRun",
    "AnonymousCall",
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
    "ClaimedUserWarning",
    "Clock",
    "ConfigurationError",
    "ContentBlocked",
    "ContentFilter",
    "CostBudget",
    "Deadline",
    "DeadlineExceeded",
    "DetectionFailed",
    "ErrorClass",
    "Event",
    "EventsExpired",
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
    "LostContextWarning",
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
    "RunStreams",
    "ServerUnavailable",
    "Settings",
    "ShuttingDown",
    "StoreUnavailable",
    "Timeout",
    "TokenBudget",
    "TokenUsage",
    "Tracing",
    "UnknownFailure",
    "UnknownToken",
    "UntrustedType",
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
    "checkpointer",
    "class_of",
    "configure_logging",
    "connect",
    "connect_sync",
    "converse",
    "current_run",
    "guard",
    "harden",
    "health_app",
    "install",
    "is_transient",
    "list_price",
    "metrics_text",
    "problem_handlers",
    "problem_of",
    "rate_limit_headers",
    "reported",
    "retry_after_of",
    "store",
    "trace_headers",
    "uninstall",
]
