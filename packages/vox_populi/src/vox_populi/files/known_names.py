"""File names by which a folder is recognised, for every layer that looks for them."""

from __future__ import annotations

PEFT_CONFIG_FILE = "adapter_config.json"
"""In every adapter folder of PEFT."""
REQUEST_FILE = "request.json"
"""The first file of every run folder."""
MANIFEST_FILE = "training_manifest.json"
"""The last file of a run that was completed."""
