"""Primitives for LoRA fine-tuning; what is exported here is public and imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vox_tensor.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from vox_tensor.adapted_model import (
        add_lora,
        load_lora_state_dict,
        lora_layers,
        lora_state_dict,
        merged,
        peft_config,
        without_lora,
    )
    from vox_tensor.collate import PackedBatch, collate_window
    from vox_tensor.errors import VoxError
    from vox_tensor.head_loss import linear_cross_entropy
    from vox_tensor.lora import FrozenLinear, LoraLinear, Projection, projection_of
    from vox_tensor.lora_spec import LoraSpec
    from vox_tensor.nf4 import dequantize_nf4, quantize_nf4
    from vox_tensor.nf4_weight import DenseCopies, DensePool, Nf4Weight
    from vox_tensor.packing import pack_rows
    from vox_tensor.records import IGNORE_INDEX, EncodedRow, Message, Role
    from vox_tensor.schedule import LearningRateSchedule, ScheduleKind
    from vox_tensor.tokenizer import VoxTokenizer

__all__ = [
    "IGNORE_INDEX",
    "DenseCopies",
    "DensePool",
    "EncodedRow",
    "FrozenLinear",
    "LearningRateSchedule",
    "LoraLinear",
    "LoraSpec",
    "Message",
    "Nf4Weight",
    "PackedBatch",
    "Projection",
    "Role",
    "ScheduleKind",
    "VoxError",
    "VoxTokenizer",
    "add_lora",
    "collate_window",
    "dequantize_nf4",
    "linear_cross_entropy",
    "load_lora_state_dict",
    "lora_layers",
    "lora_state_dict",
    "merged",
    "pack_rows",
    "peft_config",
    "projection_of",
    "quantize_nf4",
    "without_lora",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "vox_tensor.adapted_model": (
            "add_lora",
            "load_lora_state_dict",
            "lora_layers",
            "lora_state_dict",
            "merged",
            "peft_config",
            "without_lora",
        ),
        "vox_tensor.collate": ("PackedBatch", "collate_window"),
        "vox_tensor.errors": ("VoxError",),
        "vox_tensor.head_loss": ("linear_cross_entropy",),
        "vox_tensor.lora": ("FrozenLinear", "LoraLinear", "Projection", "projection_of"),
        "vox_tensor.lora_spec": ("LoraSpec",),
        "vox_tensor.nf4": ("dequantize_nf4", "quantize_nf4"),
        "vox_tensor.nf4_weight": ("DenseCopies", "DensePool", "Nf4Weight"),
        "vox_tensor.packing": ("pack_rows",),
        "vox_tensor.records": ("IGNORE_INDEX", "EncodedRow", "Message", "Role"),
        "vox_tensor.schedule": ("LearningRateSchedule", "ScheduleKind"),
        "vox_tensor.tokenizer": ("VoxTokenizer",),
    },
)
