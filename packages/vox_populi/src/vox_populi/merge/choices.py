"""The choices of a merge: output format and place, and the weights to update. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vox_populi import number_ranges
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

    output: Path
    output_format: MergeFormat = MergeFormat.VOX
    include_system_prompt: bool = False
    """Publish the text of the training's system prompt, not only its digest."""
    keep_base_text: bool = False
    """Copy the base's chat template and end tokens instead of writing those of the training."""
    dtype: MergeDtype = MergeDtype.AUTO
    force: bool = False
    """Rename an existing output folder (`<name>.old-1`, …)."""
    threads: int | None = None
    """`None`: as many as torch uses, at most 8. The output does not depend on it."""
    max_shard_bytes: int = MAX_SHARD_BYTES

    def __post_init__(self) -> None:
        require_ranges(
            ("--threads", self.threads, number_ranges.THREADS),
            ("max_shard_bytes", self.max_shard_bytes, number_ranges.SHARD_BYTES),
        )
