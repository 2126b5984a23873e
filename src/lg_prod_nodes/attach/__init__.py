"""Verbs that attach policies: to a graph, a node function, a place in a graph, an agent."""
