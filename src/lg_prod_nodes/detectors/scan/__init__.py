"""One linear scan for all recognizers."""
