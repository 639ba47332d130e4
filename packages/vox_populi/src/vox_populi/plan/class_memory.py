"""Memory of a step through a class of transformers, by what its blocks were found to keep.

Our formulas are those of our own operators, which keep less: the norms of a class keep their input
in several forms, its activations every factor of a product, its recurrences every state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from vox_populi.containers.dtypes import BYTES_OF_VALUE
from vox_populi.contract.choices import ActivationMemoryChoice
from vox_populi.hf.kept_bytes import KeptByBlocks
from vox_populi.hf.keymap import AdapterModule
from vox_populi.hf.model_config import ModelConfig
from vox_populi.plan.memory_estimate import CAPPED_SCORES, MemoryEstimate, WorkingSet, mask_size

LIBRARY_BYTES = 192 * 2**20
"""What transformers takes beside torch: 150 to 170 MiB more were resident with 5.23 on Linux."""
UNKNOWN_FACTOR = 6
"""How many times our formula a block of an uncounted class may keep; classes without recurrences
kept 1.2 to 4 times as much."""
_SCORES_AT_A_TIME = 6
"""Tensors of attention scores in a backward pass where no kernel has the scores of a class."""
_C = ActivationMemoryChoice


def class_memory(
    memory: MemoryEstimate,
    config: ModelConfig,
    masked: Sequence[AdapterModule],
    work: WorkingSet,
    kept: KeptByBlocks | None,
) -> MemoryEstimate:
    """The estimate of our own graph with activations and temporaries of the class.

    Args:
        memory: That of our own operators.
        config: The base.
        masked: Layers with a dropout mask.
        work: Window, dtype and device.
        kept: What the blocks keep; nothing if that could not be counted.
    """
    runtime = memory.runtime + LIBRARY_BYTES
    if kept is None:
        activations = UNKNOWN_FACTOR * memory.activations
        return replace(memory, activations=activations, working=2 * memory.working, runtime=runtime)
    size, tokens, width = BYTES_OF_VALUE[work.compute_dtype], work.tokens, config.hidden_size
    masks = ceil(tokens * size * sum(mask_size(module, config) for module in masked))
    input_bytes, n_blocks = tokens * width * size, len(kept.blocks)
    whole = [kept.of_window(block.whole, tokens) for block in kept.blocks]
    in_mlp = [kept.of_window(block.in_mlp, tokens) for block in kept.blocks]
    of_block = max(whole) + -(-masks // n_blocks)
    match work.kept:
        case _C.SELECTIVE:
            blocks = sum(whole) - sum(in_mlp) + n_blocks * input_bytes + max(in_mlp) + masks
        case _C.FULL:
            blocks = n_blocks * input_bytes + of_block
        case _C.OFFLOAD if work.device == "cuda":
            blocks = 2 * input_bytes + of_block
        case _C.OFFLOAD:
            blocks = n_blocks * input_bytes + of_block
        case _:
            blocks = sum(whole) + masks
    scores = _SCORES_AT_A_TIME * CAPPED_SCORES * 4
    return replace(
        memory,
        activations=blocks + 2 * input_bytes,
        working=memory.working + scores,
        runtime=runtime,
    )
