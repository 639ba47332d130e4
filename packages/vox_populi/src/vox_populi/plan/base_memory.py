"""The memory that training a base would take, before there is a request. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from vox_populi.containers.dtypes import BYTES_OF_VALUE
from vox_populi.contract.choices import ActivationMemoryChoice
from vox_populi.contract.qlora_spec import DenseCopiesChoice
from vox_populi.hf.keymap import adapter_modules, block_weight_keys
from vox_populi.hf.model_config import ModelConfig
from vox_populi.plan.device_choice import DeviceChoice
from vox_populi.plan.memory_estimate import PackedBase, WorkingSet, estimate_memory
from vox_populi.plan.nf4_plan import Nf4Layout
from vox_populi.plan.target_modules import select_adapters
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4_levels import Nf4Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseMemory:
    """Estimates of a step with one row, and what they are compared with; bytes."""

    lora: int
    qlora: int
    available: int | None
    """Memory of the device; `None` if it is not known."""
    device: str
    dtype: str
    tokens: int
    rank: int

    def as_json(self) -> dict[str, object]:
        """The same as JSON values."""
        return {
            "lora_bytes": self.lora,
            "qlora_bytes": self.qlora,
            "available_bytes": self.available,
            "device": self.device,
            "dtype": self.dtype,
            "tokens": self.tokens,
            "rank": self.rank,
        }


def base_memory(config: ModelConfig, device: DeviceChoice, *, tokens: int, rank: int) -> BaseMemory:
    """Estimate a step of LoRA and of QLoRA on every projection of the blocks.

    Activations are kept. QLoRA has the largest matrix dense, and no other.

    Args:
        config: The base.
        device: Where it would be trained.
        tokens: Tokens of the row.
        rank: Rank of the adapters.
    """
    modules = select_adapters(config, None).modules
    lora = LoraSpec(rank=rank, alpha=2.0 * rank)
    kept = ActivationMemoryChoice.NONE
    work = WorkingSet(tokens, device.compute_dtype, device.device, kept=kept)
    in_blocks = {key.ours.removesuffix(".weight") for key in block_weight_keys(config)}
    layout = Nf4Layout(
        modules=tuple(m for m in adapter_modules(config) if m.ours in in_blocks),
        settings=Nf4Settings(),
        is_prequantised=False,
    )
    copies = layout.dense_copy_bytes(BYTES_OF_VALUE[device.compute_dtype])
    packed = PackedBase(
        values=layout.n_values,
        packed_bytes=layout.packed_bytes,
        dense_copies=copies[DenseCopiesChoice.NONE],
    )
    return BaseMemory(
        lora=estimate_memory(config, modules, lora, work).total,
        qlora=estimate_memory(config, modules, lora, work, packed).total,
        available=device.memory_bytes,
        device=device.device,
        dtype=device.compute_dtype,
        tokens=tokens,
        rank=rank,
    )
