"""Experts that a class of transformers holds together, as the linear layers that they are.

The class has all experts of a layer in tensors of three dimensions; here each projection of each
expert is a layer with a name of its own, like those of our own transformer. No torch here.
Letters: N experts, X width of an expert, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vox_populi.hf.tensor_key import AdapterModule, ProjectionRole, TensorKey

EACH = "each"
"""The list of experts that takes the place of a class's tensors."""


@dataclass(frozen=True, slots=True)
class ExpertPart:
    """One projection of every expert of a layer."""

    name: str
    """Our name of it: `gate`, `up`, `down`, or `gate_up` where their features take turns."""
    roles: tuple[ProjectionRole, ...]
    tensor: str
    """The tensor of the class that it is a part of."""
    shape: tuple[int, int]
    """Shape of one expert's matrix, as the class has it."""


@dataclass(frozen=True, slots=True)
class ExpertsPlace:
    """The experts of one layer."""

    path: str
    """Their module in the class."""
    ours: str
    """Our name of it, such as `blocks.3.mlp.experts`."""
    count: int
    parts: tuple[ExpertPart, ...]
    """In forward order."""
    is_transposed: bool
    """Whether the class has its matrices `[in, out]`."""
    published: Mapping[str, tuple[str, ...]]
    """Module names of every part, by its name: one of each expert, in their order."""
    stored: Mapping[str, str]
    """Names on disk of the class's tensors, where these are not the experts' own."""

    @property
    def tensors(self) -> dict[str, tuple[ExpertPart, ...]]:
        """The tensors of the class, with the parts whose rows follow each other in them."""
        found: dict[str, tuple[ExpertPart, ...]] = {}
        for part in self.parts:
            found[part.tensor] = (*found.get(part.tensor, ()), part)
        return found

    def whole_shape(self, tensor: str) -> tuple[int, int, int]:
        """Shape of a tensor of the class."""
        parts = self.tensors[tensor]
        return (self.count, sum(part.shape[0] for part in parts), parts[0].shape[1])

    def modules(self) -> Iterator[AdapterModule]:
        """Every projection, in forward order."""
        for expert in range(self.count):
            for part in self.parts:
                n_out, n_in = part.shape[::-1] if self.is_transposed else part.shape
                yield AdapterModule(
                    ours=f"{self.ours}.{expert}.{part.name}",
                    theirs=self.published[part.name][expert],
                    roles=part.roles,
                    in_features=n_in,
                    out_features=n_out,
                    fan_in_fan_out=self.is_transposed,
                    in_expert=True,
                )

    def tensor_keys(self) -> Iterator[TensorKey]:
        """The matrix of every projection, in forward order."""
        for expert in range(self.count):
            for part in self.parts:
                yield TensorKey(
                    f"{self.ours}.{expert}.{part.name}.weight",
                    f"{self.published[part.name][expert]}.weight",
                    part.shape,
                    self.is_transposed,
                    required=True,
                )

    def paths(self) -> dict[str, str]:
        """The layers' paths in the class once `EACH` is there, by our names."""
        return {
            f"{self.ours}.{expert}.{part.name}": f"{self.path}.{EACH}.{expert}.{part.name}"
            for expert in range(self.count)
            for part in self.parts
        }
