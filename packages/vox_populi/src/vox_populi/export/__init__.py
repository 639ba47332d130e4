"""Adapters and models in the formats of other programs, and whether they will load them."""
