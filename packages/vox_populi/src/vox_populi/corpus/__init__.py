"""Building, mixing and checking corpora."""
