"""`reported`: a graph whose calls return the result together with the run's report."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.report import RunReport
from lg_prod_nodes.core.run import Run


class Reported:
    """A compiled graph whose calls return `(result, report)`."""

    def __init__(self, graph: Pregel[Any, Any, Any, Any]) -> None:
        self._graph = graph

    def invoke(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        **options: Any,
    ) -> tuple[Any, RunReport]:
        """Call the graph's `invoke`; return its result and the run's report."""
        run = _run(options)
        return self._graph.invoke(input, config, **options), run.report

    async def ainvoke(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        **options: Any,
    ) -> tuple[Any, RunReport]:
        """Call the graph's `ainvoke`; return its result and the run's report."""
        run = _run(options)
        return await self._graph.ainvoke(input, config, **options), run.report


def reported(graph: Pregel[Any, Any, Any, Any]) -> Reported:
    """Return each run's report together with its result.

    For streams, or to read the report of a failed run, pass a `Run` yourself: `graph.stream(..., control=Run())`.

    Args:
        graph: A compiled graph with policies.

    Raises:
        ConfigurationError: The graph is not compiled.

    Example:
        ```python
        result, report = reported(graph).invoke(inputs, config)
        ```
    """
    if not isinstance(graph, Pregel):
        raise ConfigurationError(
            f"reported was given a {type(graph).__name__}; give a compiled graph, such as harden(...).compile()"
        )
    return Reported(graph)


def _run(options: dict[str, Any]) -> Run:
    """Return the caller's run, or a new one under the caller's control."""
    control = options.get("control")
    run = control if isinstance(control, Run) else Run(control)
    options["control"] = run
    return run
