"""Rows of large files, kept on disk as token ids. No torch here."""
