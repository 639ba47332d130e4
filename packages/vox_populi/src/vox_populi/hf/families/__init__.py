"""The model families that are built, one in each file."""
