"""What a guarded node calls: models and tools, through its policies."""

from __future__ import annotations

from contextlib import AbstractContextManager

from lg_prod_nodes.runtime.models import lead_models
from lg_prod_nodes.runtime.scope import Place, lead, placed
from lg_prod_nodes.runtime.tools import lead_tools

__all__ = ["Place", "lead", "reaching"]


def reaching(place: Place) -> AbstractContextManager[None]:
    """Let the policies of a place reach the models and tools that are called inside of the block."""
    lead_models()
    lead_tools()
    return placed(place)
