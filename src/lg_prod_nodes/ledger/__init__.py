"""What model calls cost: one entry a call, summed by user, graph, model and more, in memory or in Postgres."""

from lg_prod_nodes.ledger.entries import DIMENSIONS, Dimension, Entry, State, UsageRow
from lg_prod_nodes.ledger.ledger import Ledger
from lg_prod_nodes.ledger.price_table import ModelPrice, Price, PriceTable, list_price

__all__ = [
    "DIMENSIONS",
    "Dimension",
    "Entry",
    "Ledger",
    "ModelPrice",
    "Price",
    "PriceTable",
    "State",
    "UsageRow",
    "list_price",
]
