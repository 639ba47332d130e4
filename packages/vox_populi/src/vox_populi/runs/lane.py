"""The lane of a run: research until a scorecard promotes it (decision 0032)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from vox_populi.contract.choices import Kernel


class Lane(StrEnum):
    """What a run may be used for without further evidence."""

    RESEARCH = "research"
    PRODUCTION = "production"


LANE_OF_KERNEL = {Kernel.BURN_LORA: Lane.RESEARCH, Kernel.CANDLE_QLORA: Lane.PRODUCTION}
"""The lane that a kernel's runs start in, as the source system's policy has it."""


def lane_of(manifest: Mapping[str, object]) -> str:
    """The lane of a manifest; older ones do not say, and have that of their kernel."""
    written = manifest.get("lane")
    if isinstance(written, str):
        return written
    kernel = manifest.get("execution_kernel")
    is_production = kernel == Kernel.CANDLE_QLORA.value
    return (Lane.PRODUCTION if is_production else Lane.RESEARCH).value
