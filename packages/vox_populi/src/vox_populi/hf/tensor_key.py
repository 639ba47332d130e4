"""Facts about one tensor and about one linear layer of a model, from either source of graphs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProjectionRole(StrEnum):
    """What a linear layer does in a block; the words that `--targets` takes."""

    Q = "q"
    K = "k"
    V = "v"
    O = "o"  # noqa: E741 - the field's name for it
    GATE = "gate"
    UP = "up"
    DOWN = "down"
    LM_HEAD = "lm_head"


@dataclass(frozen=True, slots=True)
class TensorKey:
    """One tensor under both of its names."""

    ours: str
    theirs: str
    """Canonical Hugging Face name; GPT-2's with the `transformer.` prefix."""
    shape: tuple[int, ...]
    """Shape as stored in the checkpoint."""
    transposed: bool
    """Stored `[in, out]`: swap the two dimensions on the way in and on the way out."""
    required: bool
    """Whether a checkpoint without it is incomplete; only a tied head may be left out."""

    @property
    def our_shape(self) -> tuple[int, ...]:
        """Shape in our transformer."""
        return self.shape[::-1] if self.transposed else self.shape


@dataclass(frozen=True, slots=True)
class AdapterModule:
    """One linear layer that can carry an adapter."""

    ours: str
    """Module path in our transformer, such as `blocks.0.attn.q`."""
    theirs: str
    """Module path in the Hugging Face model, such as `model.layers.0.self_attn.q_proj`."""
    roles: tuple[ProjectionRole, ...]
    """More than one where the base fuses projections (GPT-2's `c_attn` is q, k and v)."""
    in_features: int
    out_features: int
    fan_in_fan_out: bool
    """The base stores this weight `[in, out]` (PEFT's word for Conv1D)."""
    in_expert: bool = False
    """Whether it is one expert's, which computes some of the tokens."""
