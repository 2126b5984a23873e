"""Content handling: the single walk over messages and state, and the filters for streamed text."""
