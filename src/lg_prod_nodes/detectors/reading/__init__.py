"""Texts as a person reads them: no invisible characters, lookalikes folded."""
