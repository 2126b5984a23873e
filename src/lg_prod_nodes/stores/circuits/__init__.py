"""Circuits shared by all callers of a dependency."""
