"""A graph as a service: its database, its settings, its shutdown, its health."""
