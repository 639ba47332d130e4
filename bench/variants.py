"""What is compared: the peer and our own step, on dense bases and on bases in NF4."""

from __future__ import annotations

from dataclasses import dataclass

from shapes import Shape


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to compute the steps, in processes of its own."""

    name: str
    label: str
    is_ours: bool
    dense_copies: str | None = None
    """Ours on a base in NF4: how long dense copies live (`--nf4-cache`)."""
    is_quantized: bool = False


@dataclass(frozen=True, slots=True)
class Ratio:
    """One variant over another, in rate and in memory."""

    label: str
    over: Variant
    under: Variant
    is_time: bool = False
    """In the time of a step, and not in rate."""


PEFT = Variant("peft", "PEFT loop, padded 4 x 2", is_ours=False)
OURS = Variant("ours", "vox", is_ours=True)
PEFT_NF4 = Variant(
    "peft-nf4", "PEFT + bitsandbytes, padded 4 x 2", is_ours=False, is_quantized=True
)
OURS_NONE = Variant(
    "ours-nf4-none", "vox, --nf4-cache none", is_ours=True, dense_copies="none", is_quantized=True
)
OURS_STEP = Variant(
    "ours-nf4-step", "vox, --nf4-cache step", is_ours=True, dense_copies="step", is_quantized=True
)
OURS_DENSE = Variant("ours-dense", "vox, --backend lora", is_ours=True)

VARIANTS = {
    "lora": (PEFT, OURS),
    "qlora": (PEFT_NF4, OURS_NONE, OURS_STEP, OURS_DENSE),
}
"""By backend, in the order of the first round."""

QLORA_GOAL = 2.2
"""Ratio to PEFT with bitsandbytes that the project set itself on the CPU."""


def variant_named(name: str) -> Variant:
    """One variant, of whatever backend."""
    return next(v for group in VARIANTS.values() for v in group if v.name == name)


def ratios_for(backend: str, shape: Shape) -> tuple[Ratio, ...]:
    """What the last rows of a shape's table say."""
    if backend == "lora":
        return (Ratio(f"ratio** (goal {shape.goal})", OURS, PEFT),)
    return (
        Ratio(f"none over PEFT** (goal {QLORA_GOAL})", OURS_NONE, PEFT_NF4),
        Ratio(f"step over PEFT** (goal {QLORA_GOAL})", OURS_STEP, PEFT_NF4),
        Ratio("none, time over LoRA's** (goal at most 1.1)", OURS_NONE, OURS_DENSE, is_time=True),
        Ratio("step, time over LoRA's** (goal at most 1.1)", OURS_STEP, OURS_DENSE, is_time=True),
    )
