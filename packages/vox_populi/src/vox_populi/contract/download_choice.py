"""The setting that lets a command fetch a model, for every request that takes one."""

from __future__ import annotations

from dataclasses import dataclass

from vox_populi.contract.setting import Recorded, setting

ALLOW_DOWNLOAD = "allow_download"
"""Its name, in every request."""


def download_setting() -> bool:
    """The field of a request."""
    return setting(
        False,
        "Download a model that is named as on the Hugging Face Hub (org/name@revision).",
        recorded=Recorded.NEVER,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadChoice:
    """The setting alone, for a command without a request of its own."""

    allow_download: bool = download_setting()
