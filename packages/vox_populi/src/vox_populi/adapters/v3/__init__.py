"""Adapters of versions 2 and 3: safetensors with a manifest."""
