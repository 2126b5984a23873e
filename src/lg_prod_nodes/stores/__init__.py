"""Where policies store what they count, and what they hide."""
