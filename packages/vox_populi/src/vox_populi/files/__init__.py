"""Files and folders: safe opening, locks, output checks, atomic publishing. No torch here."""
