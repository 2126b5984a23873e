"""A retry budget for `RetryPolicy(retry_on=...)`."""

from __future__ import annotations

import threading

from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.error_class import Classify, check_classify, is_transient
from lg_prod_nodes.core.errors import ConfigurationError

_SAVED_SECONDS = 10.0


class RetryBudget:
    """Retries transient errors, but limits retries so that they do not amplify an outage.

    A token bucket: each failed call adds `ratio` of a retry, and each second adds `min_per_second` retries, saved for
    up to ten seconds. So retries increase the load by at most `ratio`, plus `min_per_second` calls per second. The
    budget counts in this process only. Share one budget among all nodes that call the same dependency.

    Args:
        ratio: Retries per failed call, 0 to 1.
        min_per_second: Retries per second that are always allowed, so that rare failures are retried.
        classify: Your own classes, which take precedence, see `class_of`.
        clock: The source of time.

    Raises:
        ConfigurationError: While building, if a setting is invalid.

    Example:
        ```python
        budget = RetryBudget(ratio=0.1)
        builder.add_node("agent", agent, retry_policy=RetryPolicy(retry_on=budget))
        ```
    """

    def __init__(
        self,
        ratio: float = 0.1,
        *,
        min_per_second: float = 1.0,
        classify: Classify | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if not 0 <= ratio <= 1:
            raise ConfigurationError(f"ratio is {ratio}; give a share from 0 to 1")
        if not min_per_second >= 0:
            raise ConfigurationError(f"min_per_second is {min_per_second}; give 0 or more")
        check_classify(classify)
        self._ratio, self._per_second = ratio, min_per_second
        self._classify, self._clock = classify, clock
        self._most = max(min_per_second * _SAVED_SECONDS, 1.0 + ratio)
        self._saved, self._at = self._most if min_per_second else 0.0, clock.now()
        self._lock = threading.Lock()

    def __call__(self, error: Exception) -> bool:
        """Return whether to retry after an error; the answer for one exception never changes."""
        if not is_transient(error, self._classify):
            return False
        known = f"_lg_prod_nodes_retry_{id(self)}"
        if known not in vars(error):
            vars(error)[known] = self._spend()
        return bool(vars(error)[known])

    def _spend(self) -> bool:
        with self._lock:
            now = self._clock.now()
            saved = self._saved + (now - self._at) * self._per_second + self._ratio
            self._saved, self._at = min(saved, self._most), now
            price = 1.0 + self._ratio  # so a retry that fails adds nothing
            if self._saved + 1e-9 < price:
                return False
            self._saved -= price
            return True
