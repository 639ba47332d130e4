"""What this machine offers to anyone who distributes work: the hints of the source system's nodes.

The document has the keys of its `TaskCapabilityHints`, without the name of the host.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

_YES = ("1", "true")
_LABELS = "VOX_MESH_LABELS"
_DEVICE_CLASS = "VOX_MESH_DEVICE_CLASS"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityHints:
    """Hints about a machine."""

    gpu_cuda: bool
    gpu_metal: bool
    gpu_vulkan: bool
    gpu_webgpu: bool
    npu: bool
    device_class: str | None
    """`server`, `desktop`, `mobile`, `browser` or another word."""
    cpu_cores: int
    arch: str
    labels: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The document; what is not known is not in it."""
        found: dict[str, object] = {
            "gpu_cuda": self.gpu_cuda,
            "gpu_metal": self.gpu_metal,
            "gpu_vulkan": self.gpu_vulkan,
            "gpu_webgpu": self.gpu_webgpu,
            "npu": self.npu,
        }
        if self.device_class is not None:
            found["device_class"] = self.device_class
        found |= {"cpu_cores": self.cpu_cores, "arch": self.arch}
        return {**found, "labels": list(self.labels)} if self.labels else found

    def words(self) -> str:
        """The hints for people."""
        document = self.as_json()
        offered = [name for name, value in document.items() if value is True]
        named = [
            f"{name} {self._shown(value)}"
            for name, value in document.items()
            if not isinstance(value, bool)
        ]
        return ", ".join((*offered, *named))

    @staticmethod
    def _shown(value: object) -> str:
        return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def capability_hints(
    environment: Mapping[str, str], kinds: Collection[str], n_cpus: int, arch: str
) -> CapabilityHints:
    """Hints from what was found and what the source system's variables add.

    Args:
        environment: Variables.
        kinds: Kinds of the devices that were found: `cuda`, `metal`, `cpu`.
        n_cpus: Logical CPUs.
        arch: Name of the processor's architecture.
    """

    def offers(name: str) -> bool:
        return environment.get(f"VOX_MESH_ADVERTISE_{name}", "").strip().lower() in _YES

    labels = (each.strip() for each in environment.get(_LABELS, "").split(","))
    return CapabilityHints(
        gpu_cuda="cuda" in kinds or offers("GPU"),
        gpu_metal="metal" in kinds,
        gpu_vulkan=offers("VULKAN"),
        gpu_webgpu=offers("WEBGPU"),
        npu=offers("NPU"),
        device_class=environment.get(_DEVICE_CLASS, "").strip() or None,
        cpu_cores=n_cpus,
        arch=arch,
        labels=tuple(dict.fromkeys(each for each in labels if each)),
    )
