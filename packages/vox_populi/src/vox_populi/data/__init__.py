"""Rows: reading, formats, text, supervision, corpora."""
