"""Durations in words."""

from __future__ import annotations

from math import ceil


def duration(seconds: float) -> str:
    """Format seconds for people, rounded up: `"0.2 s"`, `"60 s"`, `"9 h 12 min"`, `"3 d 4 h"`."""
    if seconds < 10:
        return f"{ceil(seconds * 10) / 10:g} s"
    if seconds <= 120:
        return f"{ceil(seconds)} s"
    minutes = ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return _two(*divmod(minutes, 60), "h", "min")
    return _two(*divmod(ceil(minutes / 60), 24), "d", "h")


def _two(large: int, small: int, unit: str, smaller_unit: str) -> str:
    return f"{large} {unit}" + (f" {small} {smaller_unit}" if small else "")
