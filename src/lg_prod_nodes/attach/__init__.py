"""Attach policies to a graph, to a single function, model or tool, as a node, or as middleware."""
