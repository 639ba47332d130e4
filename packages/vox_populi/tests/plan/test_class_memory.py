"""The memory of a step through a class of transformers, by what its blocks keep."""

from __future__ import annotations

from typing import Any

import pytest

from vox_populi.contract.choices import ActivationMemoryChoice
from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.kept_bytes import KeptByBlocks, KeptBytes
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.plan.class_memory import UNKNOWN_FACTOR, class_memory
from vox_populi.plan.memory_estimate import MemoryEstimate, WorkingSet, estimate_memory
from vox_tensor.lora_spec import LoraSpec

C = ActivationMemoryChoice
CONFIG = parse_model_config({**FAMILIES[0].tiny, "vocab_size": 24}, "test")
KEPT = KeptByBlocks(row=10, blocks=(KeptBytes(4000, 3000), KeptBytes(9000, 2000)))
INPUT = 25 * CONFIG.hidden_size * 4
"""The input of a block, of 25 tokens in float32."""


def estimates(
    kept: KeptByBlocks | None, choice: C = C.NONE, device: str = "cpu", masked: Any = ()
) -> tuple[MemoryEstimate, MemoryEstimate]:
    """Our own graph's, and that of the class."""
    work = WorkingSet(25, "float32", device, kept=choice)
    own = estimate_memory(CONFIG, adapter_modules(CONFIG), LoraSpec(), work)
    return own, class_memory(own, CONFIG, masked, work, kept)


@pytest.mark.parametrize(
    ("choice", "device", "blocks"),
    [
        (C.NONE, "cpu", 10_000 + 22_500),
        (C.SELECTIVE, "cpu", 2_500 + 17_500 + 2 * INPUT + 7_500),
        (C.FULL, "cpu", 2 * INPUT + 22_500),
        (C.OFFLOAD, "cpu", 2 * INPUT + 22_500),
        (C.OFFLOAD, "cuda", 2 * INPUT + 22_500),
    ],
)
def test_every_mode_counts_what_it_leaves_of_the_blocks(
    choice: C, device: str, blocks: int
) -> None:
    own, found = estimates(KEPT, choice, device)
    assert found.activations == blocks + 2 * INPUT
    assert found.weights == own.weights
    assert found.runtime > own.runtime


def test_dropout_masks_are_counted_beside_it() -> None:
    _, plain = estimates(KEPT)
    _, masked = estimates(KEPT, masked=adapter_modules(CONFIG))
    inputs = sum(module.in_features for module in adapter_modules(CONFIG))
    assert masked.activations - plain.activations == 25 * 4 * inputs


def test_a_class_that_could_not_be_counted_is_allowed_for() -> None:
    own, found = estimates(None)
    assert found.activations == UNKNOWN_FACTOR * own.activations
    assert found.total > own.total
