"""Failed runs, by names alone."""
