"""Which number types a merge may write, nearest to the base first. No torch here.

A merge never chooses a type below the base's own: that would round weights that no adapter changes.
float16 comes after bfloat16 because it takes the same space and has three more bits of precision;
what it cannot hold (beyond 65504) is refused, and float32 is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vox_populi.containers.dtypes import CONFIG_NAME_OF


class MergeDtype(StrEnum):
    """The number type of a merged model."""

    AUTO = "auto"
    """The base's, or the smallest wider one that keeps what was trained."""
    BF16 = "bf16"
    F16 = "f16"
    F32 = "f32"


@dataclass(frozen=True, slots=True)
class NumberType:
    """A number type of an output."""

    config_name: str
    """Name in a model's config: `float32`, `bfloat16` or `float16`."""
    stored_name: str | None
    """Name in a safetensors header; `None`: every tensor keeps its stored type."""


_BF16, _F16, _F32 = (NumberType(CONFIG_NAME_OF[name], name) for name in ("BF16", "F16", "F32"))
_ASKED = {MergeDtype.BF16: _BF16, MergeDtype.F16: _F16, MergeDtype.F32: _F32}
_WIDER = {"bfloat16": (_F16, _F32), "float16": (_F32,), "float32": ()}


def number_types(asked: MergeDtype, base: str) -> tuple[NumberType, ...]:
    """The types to try, in this order.

    Args:
        asked: The operator's choice.
        base: The base's type, as in its config.
    """
    as_stored = NumberType(base, None)
    if asked is MergeDtype.AUTO:
        return (as_stored, *_WIDER[base])
    wanted = _ASKED[asked]
    return (as_stored,) if wanted.config_name == base else (wanted,)
