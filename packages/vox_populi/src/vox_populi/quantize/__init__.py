"""Model folders in four bits: writing and caching them."""
