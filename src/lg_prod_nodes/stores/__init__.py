"""Where policies keep what they count."""

from lg_prod_nodes.stores.limits import Admission, LimitStore

__all__ = ["Admission", "LimitStore"]
