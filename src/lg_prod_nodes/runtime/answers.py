"""Structured answers of LangChain's agents: one that a policy made invalid ends the run.

The agent would report the error to the model and ask again, up to its recursion limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lg_prod_nodes.content.misfits import misfits
from lg_prod_nodes.core.call import Uncaught
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.runtime.scope import Scope


def _parse(scope: Scope, native: Any, binding: Any, given: Any) -> Any:
    try:
        return native(binding, given)
    except Exception as error:
        misfit = next(misfits(error), None) if scope.policies.content else None
        if misfit is None:
            raise
        name = str(getattr(binding.schema, "__name__", "answer"))
        advice = misfit.advice(name)
        problem = f"the structured answer {name} cannot become valid: {advice}"
        raise Uncaught(ConfigurationError(problem)) from None


OF_ANSWERS: Mapping[str, Callable[..., Any]] = {"parse": _parse}
