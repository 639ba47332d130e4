"""What other programs are given, and whether they will load it."""
