"""The fine-tuning system; importing this package imports no third-party code."""
