"""Where policies keep what they count, and what they hide."""
