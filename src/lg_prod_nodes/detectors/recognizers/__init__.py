"""What each entity looks like, one file per kind."""
