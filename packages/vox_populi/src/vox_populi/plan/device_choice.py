"""Choosing device and dtype from the request and the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vox_populi.contract.choices import ComputeDtype, DeviceKind
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.operator_messages import contract as say_contract
from vox_populi.operator_messages import environment as say_plan
from vox_tensor.errors import Problem

_TORCH_NAME = {DeviceKind.CPU: "cpu", DeviceKind.CUDA: "cuda", DeviceKind.METAL: "mps"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """The machine's devices and memory; `None` for what could not be determined."""

    n_cpus: int
    memory_bytes: int | None = None
    """Memory of the host, or of the container if that is less."""
    has_cuda: bool | None = None
    has_mps: bool | None = None
    device_memory_bytes: int | None = None
    """Free memory of the CUDA device, excluding its context and other programs."""
    has_bf16: bool | None = None
    """Whether the CUDA device has bf16 hardware; emulation does not count."""
    metal_memory_bytes: int | None = None
    """The amount of shared memory that Apple recommends for one program."""
    cuda_failure: str | None = None
    """Why an existing CUDA device cannot be used."""
    metal_failure: str | None = None
    """Why the trial of Metal failed; `None` if it was not tried."""
    n_ranks: int = 1
    """Processes that share the run."""
    local_ranks: int = 1
    """The number of them on this machine, which share its memory."""


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """The device and dtype of a run; `notes` explain what the operator may not expect."""

    device: str
    """torch's name: `cpu`, `cuda` or `mps`."""
    compute_dtype: str
    """`float32` or `bfloat16`."""
    memory_bytes: int | None
    """Memory of that device that a run may use."""
    notes: tuple[str, ...]


def device_problems(wanted: DeviceKind, machine: MachineFacts) -> Iterator[Problem]:
    """A problem if the requested device is missing, as far as that can be determined."""
    is_there = {DeviceKind.CUDA: machine.has_cuda, DeviceKind.METAL: machine.has_mps}
    if is_there.get(wanted) is False:
        yield say_plan.device_absent(wanted)
    elif wanted is DeviceKind.CUDA and machine.cuda_failure is not None:
        yield say_plan.device_unusable(wanted, machine.cuda_failure)


def thread_problems(threads: int | None, n_cpus: int) -> Iterator[Problem]:
    """A problem for more threads than cores, which only take turns; thousands end the process."""
    if threads is not None and threads > n_cpus:
        yield say_contract.threads_beyond_cpus(threads, n_cpus)


def choose_device(asked: ComputeSettings, machine: MachineFacts) -> DeviceChoice:
    """Choose a device and a dtype: bf16 on CUDA, f32 elsewhere, unless requested otherwise."""
    notes: list[str] = []
    device = _device(asked.device, machine, notes)
    dtype = _dtype(asked.dtype, device, machine, notes)
    return DeviceChoice(device, dtype, _memory(device, machine), tuple(notes))


def _memory(device: str, machine: MachineFacts) -> int | None:
    if device == "cuda":
        return machine.device_memory_bytes
    if device == "mps" and machine.metal_memory_bytes is not None:
        return machine.metal_memory_bytes
    return None if machine.memory_bytes is None else machine.memory_bytes // machine.local_ranks


def _device(wanted: DeviceKind, machine: MachineFacts, notes: list[str]) -> str:
    if wanted is not DeviceKind.BEST:
        looked = {DeviceKind.CUDA: machine.has_cuda, DeviceKind.METAL: machine.has_mps}
        if looked.get(wanted, True) is None:
            notes.append(say_plan.note_device_not_checked(wanted))
        return _TORCH_NAME[wanted]
    if machine.has_cuda is None and machine.has_mps is None:
        notes.append(say_plan.NOTE_DEVICE_UNKNOWN)
    found = (
        (DeviceKind.CUDA, machine.has_cuda, machine.cuda_failure),
        (DeviceKind.METAL, machine.has_mps, machine.metal_failure),
    )
    for kind, is_there, failure in found:
        if is_there and failure is None:
            return _TORCH_NAME[kind]
        if is_there and failure is not None:
            notes.append(say_plan.note_device_passed_over(kind, failure))
    return "cpu"


def _dtype(wanted: ComputeDtype, device: str, machine: MachineFacts, notes: list[str]) -> str:
    if wanted is ComputeDtype.F32:
        return "float32"
    if wanted is ComputeDtype.BF16:
        if device == "cpu" or (device == "cuda" and machine.has_bf16 is False):
            notes.append(say_plan.note_bf16_slow(device))
        return "bfloat16"
    if device == "cuda" and machine.has_bf16 is not False:
        return "bfloat16"
    if device == "cuda":
        notes.append(say_plan.NOTE_NO_BF16)
    return "float32"
