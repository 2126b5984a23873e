"""The production toolkit for LangGraph."""

from lg_prod_nodes.graphs import harden

__all__ = ["harden"]
