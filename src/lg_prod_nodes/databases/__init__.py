"""Connections to Postgres and Redis: pools, timeouts, forks, timings."""
