from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from tests.conftest import FakeClock
from tests.policies.conftest import FakeModel, Runner, State, asks, one

from lg_prod_nodes import Metrics, harden


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def metrics(reader: InMemoryMetricReader) -> Metrics:
    provider = MeterProvider([reader], shutdown_on_exit=False)
    return Metrics(registry=CollectorRegistry(), otel=provider)


def points(reader: InMemoryMetricReader, name: str) -> list[tuple[dict[str, Any], Any]]:
    """The points of a histogram, with their attributes."""
    data: Any = reader.get_metrics_data()
    return [
        (dict(point.attributes), point)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


MODEL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini",
    "gen_ai.provider.name": "fakemodel",
}


async def test_tokens_and_times_of_model_calls_are_told_by_their_names(
    run: Runner, reader: InMemoryMetricReader, metrics: Metrics, model: FakeModel
) -> None:
    graph = harden(one(asks(model)), [metrics]).compile()

    for _ in range(2):
        await run(graph, {"messages": [("user", "private")]})

    tokens = {
        attributes.pop("gen_ai.token.type"): (attributes, point.sum, point.count)
        for attributes, point in points(reader, "gen_ai.client.token.usage")
    }
    assert tokens == {"input": (MODEL, 6, 2), "output": (MODEL, 8, 2)}
    ((attributes, point),) = points(reader, "gen_ai.client.operation.duration")
    assert (attributes, point.count) == (MODEL, 2)


def test_times_are_the_clock_s_and_errors_are_told_by_type(
    reader: InMemoryMetricReader, metrics: Metrics
) -> None:
    clock = FakeClock()

    class Slow(FakeModel):
        def _generate(self, *args: Any, **options: Any) -> Any:
            clock.advance(2.5)
            raise ValueError("secret")

    def node(state: State) -> None:
        Slow().invoke("hi")

    with pytest.raises(ValueError, match="secret"):
        harden(one(node), [metrics], clock=clock).compile().invoke({"log": []})

    ((attributes, point),) = points(reader, "gen_ai.client.operation.duration")
    assert point.sum == 2.5
    assert attributes["error.type"] == "ValueError"
    assert "secret" not in str(attributes)
    assert point.explicit_bounds[:2] == (0.01, 0.02)
