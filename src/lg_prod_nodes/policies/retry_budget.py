"""How much may be tried again, for `RetryPolicy(retry_on=...)`."""

from __future__ import annotations

import threading

from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.error_class import Classify, check_classify, is_transient
from lg_prod_nodes.core.errors import ConfigurationError

_SAVED_SECONDS = 10.0


class RetryBudget:
    """Lets LangGraph retry what is transient, but never so much that retries multiply an outage.

    Each call that fails pays in a part of a retry, and each second some more: so retries add at most `ratio` to the
    load, and `min_per_second` calls a second, which are saved up for ten seconds. It counts for this process; give one
    budget to all nodes that call the same dependency.

    Args:
        ratio: Retries for each call that fails, from 0 to 1.
        min_per_second: Retries a second that are always granted, so that rare failures are retried.
        classify: Classes of one's own, asked first, see `class_of`.
        clock: Where the time is taken from.

    Raises:
        ConfigurationError: While building, when a setting cannot work.

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
        """Whether a call that failed so may be tried again; of one error it says the same each time."""
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
            price = 1.0 + self._ratio  # a retry that fails pays in nothing
            if self._saved + 1e-9 < price:
                return False
            self._saved -= price
            return True
