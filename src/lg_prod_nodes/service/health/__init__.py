"""Health checks: whether a process is alive, and whether its dependencies are available."""

from lg_prod_nodes.service.health.app import health_app
from lg_prod_nodes.service.health.checks import Check, CheckResult, Status
from lg_prod_nodes.service.health.health import Health, HealthReport

__all__ = ["Check", "CheckResult", "Health", "HealthReport", "Status", "health_app"]
