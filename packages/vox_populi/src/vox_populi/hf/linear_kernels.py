"""Functions of other packages in a class of transformers: linear attention by `fla`, for instance.

transformers decides as it is imported: a function of the package, wherever that can be imported,
in place of its own in torch. Those of the packages compute on a GPU of CUDA alone, so here the
device of the numbers decides. No torch here.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from vox_populi.operator_messages import transformers_graph as say

IN_TORCH = "torch"
"""In place of a version: the function of transformers is used."""
_FOUND = "is_new_implementation"
_OF_THEIRS = {_FOUND, "package", "torch_function"}
"""What transformers' decorator keeps in variables of its own."""
_BORDERS = ("cu_seqlens", "seq_idx")
"""Arguments that say where packed rows begin; transformers' own functions do not know them."""


@dataclass(frozen=True, slots=True)
class KernelByDevice:
    """A function with two forms: a package's on a GPU, transformers' own elsewhere."""

    package: str
    in_package: Callable[..., Any]
    in_torch: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute where the numbers are.

        Raises:
            ValueError: For packed rows that are not on a GPU, as transformers does without the
                package.
        """
        if any(is_on_gpu(each) for each in (*args, *kwargs.values())):
            return self.in_package(*args, **kwargs)
        if any(kwargs.get(name) is not None for name in _BORDERS):
            raise ValueError(say.kernel_needs_gpu(self.package))
        known = inspect.signature(self.in_torch).parameters
        return self.in_torch(*args, **{name: kwargs[name] for name in kwargs if name in known})


def is_on_gpu(value: object) -> bool:
    """Whether a value is a tensor on a GPU of CUDA."""
    return bool(getattr(value, "is_cuda", False))


def let_devices_decide(model_class: type) -> None:
    """Replace the functions that a class takes from packages by those that look at the device."""
    names = vars(sys.modules[model_class.__module__])
    for name, (package, chosen) in dict(_choices(names)).items():
        found = inspect.getclosurevars(chosen).nonlocals
        if found[_FOUND]:
            names[name] = KernelByDevice(package, chosen, found["torch_function"])


def kernels_of(model_class: type, device: str) -> dict[str, str]:
    """The version of each package that computes for a class on a device, or `torch`, by its name.

    Args:
        model_class: The class, after `let_devices_decide`.
        device: Where it will compute.
    """
    names = vars(sys.modules[model_class.__module__])
    found = {package: IN_TORCH for _, (package, _) in _choices(names)}
    for value in names.values():
        if isinstance(value, KernelByDevice):
            found[value.package] = _version(value.package) if device == "cuda" else IN_TORCH
    return dict(sorted(found.items()))


def has_package_kernels(model_class: type) -> bool:
    """Whether a class computes with another package on a GPU."""
    names = vars(sys.modules[model_class.__module__])
    return any(isinstance(value, KernelByDevice) for value in names.values())


def _choices(names: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, Any]]]:
    """The functions that transformers may have taken from a package, with its name."""
    for name, value in names.items():
        # Their decorator keeps what it found in variables of its own.
        if (
            isinstance(value, FunctionType)
            and "is_new_implementation" in value.__code__.co_freevars
        ):
            yield name, (inspect.getclosurevars(value).nonlocals["package"], value)


def _version(package: str) -> str:
    return str(getattr(sys.modules.get(package), "__version__", "of unknown version"))
