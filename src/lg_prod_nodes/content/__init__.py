"""The one walk over messages and state, and what of a stream may leave."""
