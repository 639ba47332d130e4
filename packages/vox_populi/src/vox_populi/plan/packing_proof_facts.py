"""What follows from what was measured of a class of transformers: packing, or one row at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vox_populi.hf.linear_kernels import IN_TORCH
from vox_populi.operator_messages import transformers_graph as say
from vox_tensor.errors import Problem

TOLERANCE = 1e-3
"""Largest relative difference that is rounding. Toys whose rows do not see each other differ by
1e-7 to 1e-5 in float32, and leaks that were found by 0.1 and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackingProof:
    """Largest differences on a toy of the base's config, relative to the largest value."""

    class_name: str
    """A class of transformers."""
    version: str
    alone: float
    """Logits of a row through our attention and head, from those of the class by itself."""
    packed: float
    """Logits of packed rows, from those of the rows alone; infinite if the class refuses them."""
    gradients: float
    """The same for the gradients of the adapters."""
    marked: float = 0.0
    """Logits of the class if the tokens are said to be text, from those without a word."""
    blocks_passed: int = 0
    """Blocks of the toy that text goes past."""
    refused: str = ""
    """What the class says to packed rows, if it refuses them."""
    repeats: bool = False
    """Whether blocks that are computed again give the same gradients bit for bit."""
    has_mlps: bool = False
    """Whether every block has an MLP of its own, which can be computed again alone."""
    kernels: tuple[tuple[str, str], ...] = ()
    """Packages that can compute linear attention of the class: version, or `torch` without it."""

    @property
    def package_kernels(self) -> str:
        """The packages that compute, with their versions; empty if transformers' own code does."""
        used = (f"{name} {version}" for name, version in self.kernels if version != IN_TORCH)
        return ", ".join(used)

    @property
    def packs(self) -> bool:
        """Whether rows may be packed; otherwise each is computed on its own."""
        return max(self.packed, self.gradients) <= TOLERANCE

    @property
    def leak(self) -> float | None:
        """The measured leak between packed rows, if there is one."""
        return None if self.packs or self.refused else max(self.packed, self.gradients)

    def as_json(self) -> dict[str, object]:
        """The proof as manifests and plans have it."""
        measured = {
            "logits_alone": self.alone,
            "logits_packed": None if self.refused else self.packed,
            "gradients_packed": None if self.refused else self.gradients,
        }
        kernels = {"kernels": dict(self.kernels)} if self.kernels else {}
        return {
            "source": "transformers",
            "class": self.class_name,
            "transformers": self.version,
            "packed": self.packs,
            "differences": measured,
            **kernels,
        }


def proof_problems(proof: PackingProof) -> Iterator[Problem]:
    """A class that does something that our attention or head does not."""
    if not proof.alone <= TOLERANCE:
        yield say.class_differs(proof.class_name, proof.alone)
    if not proof.marked <= TOLERANCE:
        yield say.text_sees_ahead(proof.class_name, proof.marked)
    if proof.blocks_passed:
        yield say.blocks_without_text(proof.class_name, proof.blocks_passed)


def proof_notes(proof: PackingProof) -> Iterator[str]:
    """Whose code computes, and how rows are computed."""
    yield say.note_source(proof.class_name, proof.version)
    if not proof.packs:
        yield say.note_one_row_at_a_time(proof.leak, proof.refused)
