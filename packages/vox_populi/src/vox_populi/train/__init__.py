"""One training engine for every kernel."""
