"""Choosing what the forward pass keeps: everything if that fits, otherwise less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vox_populi.contract.choices import ActivationMemoryChoice, DeviceKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.operator_messages import plan as say
from vox_populi.operator_messages import transformers_graph as say_foreign
from vox_populi.plan.device_choice import DeviceChoice
from vox_populi.plan.graph_choice import GraphChoice, is_proxy
from vox_populi.plan.memory_estimate import MemoryEstimate
from vox_tensor.errors import Problem

_C = ActivationMemoryChoice
_SAVING = (_C.SELECTIVE, _C.FULL, _C.OFFLOAD)
"""The choices that save memory, the fastest first."""

SHARE_OF_HOLES = 1.5
"""How many times its estimate a process may hold if freed memory is not returned; at most 1.4 was
measured (`bench/RESULTS-memory.md`)."""


def kept_choices(chosen: GraphChoice) -> tuple[ActivationMemoryChoice, ...]:
    """The choices that a graph has: a proxy has nothing to compute again.

    A class of transformers has those that were proven of it.
    """
    if chosen.proxy is not None:
        return (_C.NONE,)
    proof = chosen.proof
    if proof is None or (proof.repeats and proof.has_mlps):
        return (_C.NONE, *_SAVING)
    return (_C.NONE, _C.FULL, _C.OFFLOAD) if proof.repeats else (_C.NONE,)


def activation_problems(contract: FinetuneContract, chosen: GraphChoice) -> Iterator[Problem]:
    """A choice that the graph does not have."""
    asked = contract.memory.activation_memory
    if asked not in _SAVING or asked in kept_choices(chosen):
        return
    if is_proxy(contract) or chosen.proof is None:
        yield say.proxy_keeps_inputs(asked)
    elif chosen.proof.repeats:
        yield say_foreign.no_mlp_to_repeat(chosen.proof.class_name, asked)
    else:
        yield say_foreign.keeps_activations(chosen.proof.class_name, asked)


def choose_activation_memory(
    asked: ActivationMemoryChoice,
    estimated: Mapping[ActivationMemoryChoice, MemoryEstimate],
    device: DeviceChoice,
    host_bytes: int | None,
) -> ActivationMemoryChoice:
    """What is kept: as requested; with `auto` everything if it fits, else the fastest that fits.

    If nothing fits, the answer is the one that needs the least. Only CUDA uses the host's memory,
    since the other devices have no memory of their own.

    Args:
        asked: The request.
        estimated: The memory of a step by each choice of the graph, from the fastest.
        device: The device of the run.
        host_bytes: Memory of the host, if known.
    """
    if asked is not _C.AUTO:
        return asked
    available = device.memory_bytes
    if available is None:
        return _C.NONE
    usable: list[ActivationMemoryChoice] = [e for e in estimated if e is not _C.OFFLOAD]
    if device.device == DeviceKind.CUDA.value and _C.OFFLOAD in estimated:
        needed = estimated[_C.OFFLOAD].host
        usable += [_C.OFFLOAD] if host_bytes is None or needed <= host_bytes else []
    fitting = (each for each in usable if estimated[each].total <= available)
    return next(fitting, usable[-1])


def activation_notes(
    asked: ActivationMemoryChoice,
    chosen: ActivationMemoryChoice,
    estimated: Mapping[ActivationMemoryChoice, MemoryEstimate],
    device: DeviceChoice,
) -> Iterator[str]:
    """What is computed again without a request, and that host memory is no other memory."""
    if asked is _C.AUTO and chosen is not _C.NONE:
        needed, left = estimated[_C.NONE].total, estimated[chosen].total
        yield say.note_activation_memory(chosen, needed, left)
    if chosen is _C.OFFLOAD and device.device != DeviceKind.CUDA.value:
        yield say.note_offload_is_full(device.device)


def has_memory_to_spare(needed: int, available: int | None, device: str) -> bool:
    """Whether freed memory may stay in the process, which is faster and leaves holes.

    Args:
        needed: The estimate.
        available: Memory of the device, if known.
        device: torch's name.
    """
    is_elsewhere = device == DeviceKind.CUDA.value
    return is_elsewhere or available is None or SHARE_OF_HOLES * needed <= available
