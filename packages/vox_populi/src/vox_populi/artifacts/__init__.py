"""Everything written to disk: one writer and one reader each."""
