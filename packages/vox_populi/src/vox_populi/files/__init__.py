"""Files and folders: opened without surprises, locked, guarded, published whole. No torch here."""
