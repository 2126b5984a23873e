"""A text as a person reads it: without invisible characters, lookalikes folded."""
