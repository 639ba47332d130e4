"""The lane of a manifest: as written, else that of its kernel."""

from __future__ import annotations

from vox_populi.contract.choices import Kernel
from vox_populi.runs.lane import LANE_OF_KERNEL, Lane, lane_of


def test_lora_is_research_until_a_manifest_says_otherwise() -> None:
    assert set(LANE_OF_KERNEL) == set(Kernel)
    for kernel, lane in LANE_OF_KERNEL.items():
        assert lane_of({"execution_kernel": kernel.value}) == lane.value
    assert lane_of({"execution_kernel": "burn_lora"}) == Lane.RESEARCH
    assert lane_of({"execution_kernel": "candle_qlora"}) == Lane.PRODUCTION
    assert lane_of({}) == Lane.RESEARCH
    assert lane_of({"execution_kernel": "candle_qlora", "lane": "research"}) == Lane.RESEARCH
