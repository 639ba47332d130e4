"""The hub's own client, as downloads and uploads use it."""

from __future__ import annotations

import logging
import os

from huggingface_hub import HfApi

LIBRARY = "vox-mens"
"""What the hub is told as the name of the program."""

logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # Its warnings have signed URLs.


def hub_endpoint() -> str | None:
    """The address of the hub; read now, as the library reads it only when it is imported."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def hub_api() -> HfApi:
    """A client for this address."""
    return HfApi(endpoint=hub_endpoint(), library_name=LIBRARY)
