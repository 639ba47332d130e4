"""How a base is stored in 4 bits, and how much memory that takes. No torch here.

Letters: N values of a matrix, B blocks of it, s bytes of a value in the compute dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import DenseCopiesChoice, QloraSpec
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import AdapterModule, adapter_modules
from vox_populi.operator_messages import plan as say_plan
from vox_populi.operator_messages import quantize as say_qlora
from vox_populi.plan.graph_choice import GraphChoice
from vox_tensor.nf4_levels import BLOCK_SIZE, GROUP_SIZE, Nf4Settings

COMFORTABLE_SHARE = 0.25
"""Share of the device's memory up to which dense copies are kept for a whole step."""

_F32 = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantPlan:
    """The frozen base in NF4."""

    settings: Nf4Settings
    dense_copies: str
    """`none`, `layer` or `step`: how long a dense copy of a matrix is kept."""
    cache_dir: Path | None
    is_prequantised: bool
    """Whether the folder is already in NF4; it is then loaded as it is."""
    modules: tuple[str, ...]
    """Our names of the layers that are in NF4."""
    packed_bytes: int
    """Codes and magnitudes of all of them."""
    dense_copy_bytes: tuple[tuple[str, int], ...] = ()
    """What each policy for dense copies takes at its peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nf4Layout:
    """What is quantised and how, before a policy for dense copies is chosen."""

    modules: tuple[AdapterModule, ...]
    settings: Nf4Settings
    is_prequantised: bool
    notes: tuple[str, ...] = ()

    @property
    def n_values(self) -> int:
        """Values of all matrices."""
        return sum(_n_values(module) for module in self.modules)

    @property
    def packed_bytes(self) -> int:
        """Codes and magnitudes of all matrices."""
        return sum(packed_nf4_bytes(_n_values(m), self.settings) for m in self.modules)

    def dense_copy_bytes(self, value_bytes: int) -> dict[str, int]:
        """Peak of each policy.

        `none` has a buffer for the largest matrix; `layer` has all matrices once the forward
        pass is through, `step` always.
        """
        largest = max((_n_values(module) for module in self.modules), default=0)
        everything = self.n_values * value_bytes
        return {
            DenseCopiesChoice.NONE.value: largest * value_bytes,
            DenseCopiesChoice.LAYER.value: everything,
            DenseCopiesChoice.STEP.value: everything,
        }


def nf4_layout(
    contract: FinetuneContract, inventory: ModelInventory, chosen: GraphChoice
) -> Nf4Layout:
    """The NF4 part of a base: the linear layers of the blocks, or those of the proxy.

    A folder already in NF4 determines block size, double quantisation and which layers of the full
    graph stay dense.
    """
    spec = contract.qlora
    in_blocks = {key.ours.removesuffix(".weight") for key in inventory.quantized_keys()}
    full = tuple(m for m in adapter_modules(inventory.config) if m.ours in in_blocks)
    modules = full if chosen.proxy is None else chosen.adapters
    if not inventory.nf4:
        return Nf4Layout(modules=modules, settings=spec.nf4, is_prequantised=False)
    stored = next(iter(inventory.nf4.values())).settings
    return Nf4Layout(
        modules=modules,
        settings=stored,
        is_prequantised=True,
        notes=tuple(_prequantised_notes(spec, stored)),
    )


def choose_dense_copies(
    asked: DenseCopiesChoice, step_total: int, available: int | None
) -> DenseCopiesChoice:
    """`step` if everything together then fits comfortably, otherwise `none`.

    Args:
        asked: The request; anything but `auto` is the answer.
        step_total: Estimated peak with `step`.
        available: Memory of the device, if known.
    """
    if asked is not DenseCopiesChoice.AUTO:
        return asked
    fits = available is not None and step_total <= COMFORTABLE_SHARE * available
    return DenseCopiesChoice.STEP if fits else DenseCopiesChoice.NONE


def packed_nf4_bytes(n_values: int, settings: Nf4Settings) -> int:
    """Bytes of one matrix: N / 2 of codes, then 4 B of magnitudes, or B + 4 (B / 256) + 4."""
    codes, blocks = -(-n_values // 2), -(-n_values // settings.block_size)
    if not settings.double_quant:
        return codes + _F32 * blocks
    return codes + blocks + _F32 * -(-blocks // GROUP_SIZE) + _F32


def quant_plan(
    layout: Nf4Layout,
    spec: QloraSpec,
    copies: DenseCopiesChoice,
    estimates: Sequence[tuple[str, int]],
) -> QuantPlan:
    """Put layout and policy together."""
    return QuantPlan(
        settings=layout.settings,
        dense_copies=copies.value,
        cache_dir=spec.cache_dir,
        is_prequantised=layout.is_prequantised,
        modules=tuple(module.ours for module in layout.modules),
        packed_bytes=layout.packed_bytes,
        dense_copy_bytes=tuple(estimates),
    )


def _prequantised_notes(spec: QloraSpec, stored: Nf4Settings) -> Iterator[str]:
    block_size = stored.block_size
    yield say_qlora.note_base_prequantized(block_size, double_quant=stored.double_quant)
    if not spec.double_quant and stored.double_quant:
        yield say_qlora.note_prequantized(
            "--qlora-no-double-quant", "single", "double quantisation"
        )
    if spec.block_size not in (block_size, BLOCK_SIZE):
        asked, found = str(spec.block_size), f"block size {block_size}"
        yield say_qlora.note_prequantized("--nf4-block-size", asked, found)
    if spec.cache_dir is not None:
        yield say_plan.note_no_effect("--nf4-cache-dir", "this base is stored in NF4 already")


def _n_values(module: AdapterModule) -> int:
    return module.in_features * module.out_features
