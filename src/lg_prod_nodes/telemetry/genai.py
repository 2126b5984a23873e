"""OpenTelemetry metrics of model calls: tokens and durations.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.report import Event
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.telemetry.names import error_type, operation, provider_of

try:
    from opentelemetry.metrics import MeterProvider as MeterProvider
    from opentelemetry.metrics import get_meter
except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
    raise ConfigurationError(
        "OpenTelemetry needs an extra: pip install 'lg-prod-nodes[otel]'"
    ) from error

_SECONDS = [0.01 * 2**power for power in range(14)]
_TOKENS = [4**power for power in range(14)]

_ASKED: ContextVar[dict[str, Any] | None] = ContextVar("model_asked", default=None)


class ModelMetrics(Resource):
    """Records each model call in OpenTelemetry's two histograms.

    Args:
        provider: The meter provider, the global one by default.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        meter = get_meter("lg_prod_nodes", meter_provider=provider)
        self._seconds = meter.create_histogram(
            "gen_ai.client.operation.duration",
            *("s", "Time of a model call."),
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            *("{token}", "Tokens of a model call."),
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    @contextmanager
    def around(self, call: Call) -> Generator[None, None, None]:
        """Time a model call."""
        asked = {"gen_ai.operation.name": operation(call), "gen_ai.request.model": call.name}
        token, start = _ASKED.set(asked), call.now()
        try:
            yield
        except Exception as raised:
            if call.outcome(raised) == "error":
                asked["error.type"] = error_type(raised)
            raise
        finally:
            _ASKED.reset(token)
            self._seconds.record(call.now() - start, asked)

    def observe(self, event: Event) -> None:
        """Record the tokens of a model call."""
        if event.name != "model_called":
            return
        asked = _ASKED.get()
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": event.target}
        attributes |= asked or {}
        attributes |= {"gen_ai.response.model": event.target, **provider_of(event)}
        if asked is not None:
            asked.update(attributes)
        usage = event.data["usage"]
        self._tokens.record(usage.input_tokens, {**attributes, "gen_ai.token.type": "input"})
        self._tokens.record(usage.output_tokens, {**attributes, "gen_ai.token.type": "output"})
