"""Adapters in PEFT's form."""
