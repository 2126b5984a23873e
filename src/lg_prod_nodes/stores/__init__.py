"""Where policies keep what they count, and what they hide."""

from lg_prod_nodes.stores.limits import Admission, LimitStore
from lg_prod_nodes.stores.vault import Session, UnknownToken, Vault, VaultTampered

__all__ = ["Admission", "LimitStore", "Session", "UnknownToken", "Vault", "VaultTampered"]
