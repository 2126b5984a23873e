"""The policies, one per file; none imports another."""
