"""A device that can do what Metal can, for machines without it: a backend of torch in Python.

Its tensors lie on the CPU and say that they do not. It refuses what Apple's device refuses:
float64, operations for which torch has no Metal kernel (they would run on the CPU, or not at
all), and operands on two devices. What leaves it is noted with the function of ours that asked.

Registering a backend changes torch for the whole process: use it in a process of its own.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
import torchgen  # type: ignore[import-untyped]  # theirs, unannotated
from torch import Tensor
from torch._C import DispatchKey
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "metalish"
"""torch's name of the device."""

_WIDE = (torch.float64, torch.complex128)
_TO_HOST = ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal")
"""Operations that answer with a value of Python's."""
_COPIES = ("aten::_to_copy", "aten::copy_")
_ANY_DEVICE = ("CompositeExplicitAutograd", "CompositeImplicitAutograd")
"""Dispatch keys of kernels that are written in terms of other operations."""
_OUR_FOLDERS = ("vox_tensor/src/vox_tensor", "vox_populi/src/vox_populi")


class RefusedError(Exception):
    """Something that Metal cannot do; of no class that an operator's command would catch."""


class StandInTensor(torch.Tensor):
    """A tensor on the device; `held` is where its values are."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # torch's own way

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares it without `func`
        cls, func: Any, types: object, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """An operation where `StandIn` is not active, as in a thread of autograd's."""
        del types
        return StandIn.current.run(func, args, kwargs or {})


def is_copied_waiting(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a copy takes a tensor from the CPU to the device, and waits for it."""
    *_, source = (each for each in args[:2] if isinstance(each, Tensor))
    waits = not kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
    return waits and source.device.type == "cpu"


def _wrap(held: Tensor) -> StandInTensor:
    if held.dtype in _WIDE:
        message = f"cannot make a {held.dtype} tensor on {NAME}, asked by {_our_caller()}"
        raise RefusedError(message)
    made: StandInTensor = torch.Tensor._make_wrapper_subclass(
        StandInTensor,
        held.shape,
        strides=held.stride(),
        storage_offset=held.storage_offset(),
        dtype=held.dtype,
        device=torch.device(NAME, 0),
    )
    made.held = held
    return made


class StandIn(TorchDispatchMode):
    """While it is active, the device is there."""

    current: StandIn

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # theirs, unannotated
        self.kernels = metal_operators()
        self._known: dict[Any, _Operator] = {}
        self.operations: Counter[str] = Counter()
        self.to_host: Counter[str] = Counter()
        """Functions of ours that took a value or a tensor off the device."""
        self.waits: Counter[str] = Counter()
        """Functions of ours that copied to the device and waited until all before it was done."""
        self.wrong_by: dict[str, float] = {}
        """Factors of results, by operator: a broken kernel."""
        _setup_privateuseone_for_python_backend(NAME)
        StandIn.current = self

    def __torch_dispatch__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Every operation, on whatever device."""
        del types
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Compute on the CPU what may be computed on the device."""
        found = _Operands()
        held_args = [found.held(each) for each in args]
        held_kwargs = {name: found.held(each) for name, each in kwargs.items()}
        target = kwargs.get("device")
        makes_here = bool(found.here) if target is None else torch.device(target).type == NAME
        if not found.here and not makes_here:
            return func(*args, **kwargs)
        known = self._known.get(func)
        if known is None:
            known = self._known[func] = _Operator.of(func, self.kernels)
        if known.is_composite:
            # Made of others, which inference mode does not take apart by itself.
            with self, torch.inference_mode(mode=False), torch.no_grad():
                return func.decompose(*args, **kwargs)
        self._check(known, found)
        if (target is not None and not makes_here) or known.answers_host:
            self.to_host[_our_caller()] += 1
        if known.is_copy and is_copied_waiting(args, kwargs):
            self.waits[_our_caller()] += 1
        if makes_here and target is not None:
            held_kwargs["device"] = torch.device("cpu")
        # A wrapped tensor cannot be one of inference mode's, whose views know no versions.
        with torch.inference_mode(mode=False):
            result = func(*held_args, **held_kwargs)
            if known.name in self.wrong_by:
                result.mul_(self.wrong_by[known.name])
            return found.on_device(result) if makes_here else result

    def _check(self, known: _Operator, found: _Operands) -> None:
        self.operations[known.full_name] += 1
        if not known.has_kernel:
            message = f"{known.full_name} has no kernel on {NAME}, asked by {_our_caller()}"
            raise RefusedError(message)
        if found.has_strangers and not known.is_copy:
            message = f"{known.full_name} mixes devices, asked by {_our_caller()}"
            raise RefusedError(message)


@dataclass(frozen=True, slots=True)
class _Operator:
    """What is asked about an operator at each of its calls."""

    name: str
    full_name: str
    """With its overload."""
    has_kernel: bool
    is_composite: bool
    is_copy: bool
    answers_host: bool

    @classmethod
    def of(cls, func: Any, kernels: Collection[str]) -> Self:
        """The operator that `func` is."""
        schema = func._schema
        name, overload = str(schema.name).removeprefix("aten::"), str(schema.overload_name)
        full = f"{name}.{overload}" if overload else name
        return cls(
            name=name,
            full_name=full,
            has_kernel=full in kernels,
            is_composite=func.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd),
            is_copy=schema.name in _COPIES,
            answers_host=schema.name in _TO_HOST,
        )


class _Operands:
    """The tensors of a call. torch's general walks over trees take longer than small operations."""

    def __init__(self) -> None:
        self.here: dict[int, StandInTensor] = {}
        """Those on the device, by the identity of what they hold."""
        self.has_strangers = False
        """Whether there is one of the CPU. A scalar of the CPU may be an operand anywhere."""

    def held(self, value: Any) -> Any:
        """An argument with the tensors on the device replaced by what they hold."""
        if isinstance(value, StandInTensor):
            self.here[id(value.held)] = value
            return value.held
        if isinstance(value, Tensor):
            self.has_strangers |= value.dim() > 0
        elif isinstance(value, list | tuple):
            return [self.held(each) for each in value]
        return value

    def on_device(self, result: Any) -> Any:
        """The result on the device; a tensor that was written in place stays who it is."""
        if isinstance(result, Tensor):
            known = self.here.get(id(result))
            return _wrap(result) if known is None else known
        if isinstance(result, list | tuple):
            return type(result)(self.on_device(each) for each in result)
        return result


def _our_caller() -> str:
    """`file.py:function` of the innermost frame of ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename).as_posix()
        if any(folder in path for folder in _OUR_FOLDERS):
            return f"{Path(path).name}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "nobody"


def metal_operators() -> frozenset[str]:
    """Operators, with overloads, to which torch's own list gives a kernel that runs on Metal."""
    path = Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml"
    blocks = path.read_text(encoding="utf-8").split("\n- func: ")[1:]
    entries = {block.partition("(")[0]: block for block in blocks}
    return frozenset(name for name in entries if _runs_on_metal(name, entries))


def _runs_on_metal(name: str, entries: Mapping[str, str]) -> bool:
    block = entries[name]
    delegate = re.search(r"^  structured_delegate: (\S+)", block, re.MULTILINE)
    if delegate is not None:
        return _runs_on_metal(delegate[1], entries)
    if not re.search(r"^  dispatch:", block, re.MULTILINE):
        return True
    keys = re.findall(r"^    ([A-Za-z, ]+):", block, re.MULTILINE)
    names = {key.strip() for line in keys for key in line.split(",")}
    return "MPS" in names or any(key.startswith(_ANY_DEVICE) for key in names)
