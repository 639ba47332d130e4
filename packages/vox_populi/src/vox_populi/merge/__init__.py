"""Folding adapters into base weights."""
