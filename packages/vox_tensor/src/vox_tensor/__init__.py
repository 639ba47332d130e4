"""Primitives for LoRA fine-tuning; importing this package imports no third-party code."""
