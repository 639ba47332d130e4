"""Adapters on disk: headers and all formats."""
