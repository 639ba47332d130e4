"""Adapters on disk: headers, and every form they are read from."""
