"""Rate limit headers for HTTP responses, as in draft-ietf-httpapi-ratelimit-headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

from lg_prod_nodes.core.errors import CallRejected, RateLimitExceeded
from lg_prod_nodes.core.report import LimitState, RunReport


def rate_limit_headers(outcome: RunReport | CallRejected) -> dict[str, str]:
    """Build the rate limit headers of a response.

    Args:
        outcome: The report of a run, or the rejection of a call.

    Returns:
        `RateLimit-Policy` and `RateLimit`, with one item per limit that was checked; `Retry-After` in whole seconds for
        a rejection that says when to retry.

    Example:
        ```python
        try:
            result = await graph.ainvoke(inputs, config, control=run)
        except CallRejected as refusal:
            return JSONResponse({"error": str(refusal)}, 429, headers=rate_limit_headers(refusal))
        return JSONResponse(result, headers=rate_limit_headers(run.report))
        ```
    """
    headers: dict[str, str] = {}
    if isinstance(outcome, (RunReport, RateLimitExceeded)) and outcome.limits:
        named = list(zip(_names(outcome.limits), outcome.limits, strict=True))
        headers["RateLimit-Policy"] = ", ".join(f"{n};q={s.quota};w={s.window}" for n, s in named)
        headers["RateLimit"] = ", ".join(f"{n};r={s.remaining};t={ceil(s.reset)}" for n, s in named)
    if isinstance(outcome, CallRejected) and outcome.retry_after is not None:
        headers["Retry-After"] = str(ceil(outcome.retry_after))
    return headers


def _names(limits: Sequence[LimitState]) -> list[str]:
    """Return a name for each limit: that of its policy, numbered if the policy has several limits."""
    total, seen, names = Counter(limit.policy for limit in limits), Counter[str](), list[str]()
    for limit in limits:
        seen[limit.policy] += 1
        number = f"-{seen[limit.policy]}" if total[limit.policy] > 1 else ""
        names.append(_quoted(f"{limit.policy}{number}"))
    return names


def _quoted(text: str) -> str:
    """Format a string of a structured field, which allows only printable ASCII."""
    plain = "".join(c if c.isprintable() else "?" for c in text.encode("ascii", "replace").decode())
    return '"{}"'.format(plain.replace("\\", "\\\\").replace('"', '\\"'))
