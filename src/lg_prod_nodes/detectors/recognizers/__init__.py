"""What each entity looks like, one file each."""
