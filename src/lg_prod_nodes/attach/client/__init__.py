"""Call a LangGraph Server, with policies around each request."""

from lg_prod_nodes.attach.client.connect import connect, connect_sync
from lg_prod_nodes.attach.client.converse import converse

__all__ = ["connect", "connect_sync", "converse"]
