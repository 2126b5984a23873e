"""Run a graph as a service: database, settings, shutdown, health checks."""
