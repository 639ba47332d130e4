"""What this machine has: versions, devices, dtypes, extras. Loads torch only if it is installed."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata

from vox_cli.capability_hints import CapabilityHints, capability_hints
from vox_cli.inference_profile import inference_profile, server_address
from vox_cli.report_text import aligned, bytes_text
from vox_populi import extras
from vox_populi.errors import ConfigError
from vox_populi.files.json_report import json_fields
from vox_populi.pipeline.machine_probe import metal_failure

OUR_DISTRIBUTIONS = ("vox-mens-cli", "vox-populi", "vox-tensor")
_ON_TORCH = {"mens-train", "fla", "gguf", "onnx", "executorch", "litert", "serve", "lm-eval"}
"""Extras that include `mens-gpu`."""
EXTRAS = {
    name: ("mens-gpu", name) if name in _ON_TORCH else (name,)
    for name in dict.fromkeys(extras.EXTRA_OF_MODULE.values())
}
"""Each extra with the extras whose modules it includes."""
_DISTRIBUTION_OF = {"mlflow": ("mlflow", "mlflow-skinny")}
"""Distributions that have a module, where the name of the module is not the only one."""


@dataclass(frozen=True, slots=True)
class ExtraState:
    """An extra of `vox-mens-cli` and `vox-populi`."""

    name: str
    missing: tuple[str, ...]
    """Modules that it would install."""

    @property
    def install_line(self) -> str:
        """The install command."""
        return extras.install_line(self.name)


@dataclass(frozen=True, slots=True)
class Device:
    """A device to compute on."""

    kind: str
    """Name for `--device`."""
    name: str
    memory_bytes: int | None
    dtypes: tuple[str, ...]
    """Names for `--dtype`, the default first."""


@dataclass(frozen=True, slots=True)
class ProfileState:
    """The inference profile of the environment."""

    name: str | None
    """`None` if its variable has a word that is not a profile."""
    server: str | None = None
    """The server that clients of this profile ask."""
    problem: str | None = None

    def words(self) -> str:
        """The profile for people."""
        if self.name is None:
            return f"none; {self.problem}"
        return self.name if self.server is None else f"{self.name}, server {self.server}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReport:
    """The report of `vox mens doctor`."""

    versions: dict[str, str | None]
    """Version of each distribution; `None` if it is not installed."""
    python: str
    system: str
    n_cpus: int
    devices: tuple[Device, ...]
    """Devices, the choice of `--device best` first; empty without torch."""
    torch_failure: str | None
    """Why an installed torch cannot be imported."""
    extras: tuple[ExtraState, ...]
    profile: ProfileState
    hints: CapabilityHints

    def as_json(self) -> dict[str, object]:
        """The fields of `vox mens doctor --json`."""
        best = self.devices[0] if self.devices else None
        return {
            "versions": self.versions,
            "python": self.python,
            "system": self.system,
            "cpus": self.n_cpus,
            "device": None if best is None else best.kind,
            "dtypes": [] if best is None else list(best.dtypes),
            "devices": [json_fields(each) for each in self.devices],
            "torch_failure": self.torch_failure,
            "inference_profile": json_fields(self.profile),
            "capability_hints": self.hints.as_json(),
            "extras": {
                "present": [each.name for each in self.extras if not each.missing],
                "missing": [
                    {
                        "name": each.name,
                        "modules": list(each.missing),
                        "install": each.install_line,
                    }
                    for each in self.extras
                    if each.missing
                ],
            },
        }


def examine_machine() -> MachineReport:
    """Examine this machine and this installation."""
    devices, failure = _devices()
    modules, n_cpus = tuple(extras.EXTRA_OF_MODULE), _n_cpus()
    kinds = [each.kind for each in devices]
    return MachineReport(
        versions={name: _version(name) for name in (*OUR_DISTRIBUTIONS, *modules)},
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        n_cpus=n_cpus,
        devices=devices,
        torch_failure=failure,
        extras=tuple(_extra_state(name) for name in EXTRAS),
        profile=_profile_state(),
        hints=capability_hints(os.environ, kinds, n_cpus, platform.machine()),
    )


def machine_text(report: MachineReport) -> str:
    """The report for people."""
    rows: list[tuple[str, object]] = [
        ("python", f"{report.python} on {report.system}, {report.n_cpus} CPUs"),
        *((name, version or "not installed") for name, version in report.versions.items()),
        ("torch cannot be imported", report.torch_failure),
    ]
    for i, device in enumerate(report.devices):
        memory = bytes_text(device.memory_bytes)
        about = ", ".join(part for part in (device.name, memory, "/".join(device.dtypes)) if part)
        rows.append((f"device {device.kind}", about + (" (default)" if i == 0 else "")))
    for extra in report.extras:
        state = f"missing; run: {extra.install_line}" if extra.missing else "present"
        rows.append((f"extra {extra.name}", state))
    rows.append(("inference profile", report.profile.words()))
    rows.append(("hints", report.hints.words()))
    return aligned(rows)


def _version(module: str) -> str | None:
    for distribution in _DISTRIBUTION_OF.get(module, (module,)):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return None


def _profile_state() -> ProfileState:
    try:
        profile = inference_profile(os.environ)
    except ConfigError as error:
        return ProfileState(None, problem=str(error))
    return ProfileState(profile.value, server_address(profile, os.environ))


def _n_cpus() -> int:
    """CPUs this process may use, as far as the system reports it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _extra_state(name: str) -> ExtraState:
    included = EXTRAS[name]
    modules = [m for m, extra in extras.EXTRA_OF_MODULE.items() if extra in included]
    return ExtraState(name, tuple(m for m in modules if not extras.is_installed(m)))


def _devices() -> tuple[tuple[Device, ...], str | None]:
    """The devices of torch, best first, or why torch cannot be queried."""
    if not extras.is_installed("torch"):
        return (), None
    try:
        torch = extras.load("torch")
    except (ImportError, OSError, RuntimeError) as error:
        # A torch of another platform or with a library missing: to be shown, not to fail on.
        return (), f"{type(error).__name__}: {error}".splitlines()[0]
    found = []
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(torch.cuda.current_device())
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
        dtypes = ("bf16", "f32") if is_native else ("f32",)
        found.append(Device("cuda", str(about.name), int(about.total_memory), dtypes))
    cpu = Device("cpu", platform.processor() or platform.machine(), None, ("f32", "bf16"))
    if not torch.backends.mps.is_available():
        return (*found, cpu), None
    failure = metal_failure()
    if failure is None:
        return (*found, Device("metal", "Apple GPU", None, ("f32", "bf16")), cpu), None
    name = f"Apple GPU, skipped by best: {failure}"
    return (*found, cpu, Device("metal", name, None, ("f32", "bf16"))), None
