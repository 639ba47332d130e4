"""The choices of a merge: output format and place, and the weights to update. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.contract.setting import require_settings, setting, setting_metadata
from vox_populi.merge.number_type import MergeDtype
from vox_populi.number_ranges import require_ranges

MAX_SHARD_BYTES = 1_000_000_000
"""Largest size of a file in a merged folder."""


class MergeFormat(StrEnum):
    """Output formats of a merge."""

    VOX = "vox"
    """`model_merged.bin`, for this program."""
    HF = "hf"
    """A `save_pretrained` folder, for all other programs."""


class Onto(StrEnum):
    """The weights that the update of a QLoRA adapter is added to."""

    ORIGINAL = "original"
    """The weights of the base folder, in 16 or 32 bits."""
    DEQUANT = "dequant"
    """The weights that training used: rounded to NF4 and dequantised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOutput:
    """What to write, and where."""

    output: Path = field(metadata=setting_metadata("Folder to write.", name="output_dir"))
    output_format: MergeFormat = setting(MergeFormat.VOX, "What to write.", name="format")
    include_system_prompt: bool = setting(
        False, "Publish the text of the training's system prompt, not only its digest."
    )
    keep_base_text: bool = setting(
        False, "Copy the base's chat template and end tokens, not the training's."
    )
    dtype: MergeDtype = setting(MergeDtype.AUTO, "Number type to write.")
    force: bool = setting(False, "Rename an existing --output-dir first.")
    """The old folder becomes `<name>.old-1`, …"""
    threads: int | None = setting(
        None, "CPU threads.", allowed=number_ranges.THREADS, default_text="torch's, at most 8"
    )
    """`None`: as many as torch uses, at most 8. The output does not depend on it."""
    max_shard_bytes: int = MAX_SHARD_BYTES

    def __post_init__(self) -> None:
        require_settings(self)
        require_ranges(("max_shard_bytes", self.max_shard_bytes, number_ranges.SHARD_BYTES))
