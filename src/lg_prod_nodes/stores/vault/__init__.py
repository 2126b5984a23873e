"""Stand-ins for personal values, and the way back."""
