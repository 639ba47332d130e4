"""Base folders made of what a model is published as."""
