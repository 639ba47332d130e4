"""Writing safetensors containers as chunks whose bytes depend only on their content.

The library writes metadata in hash order, but we need a fixed order. It also copies every tensor,
which these chunks do not.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vox_populi.containers.torch_dtypes import DTYPE_NAME_OF
from vox_populi.files.whole_file import Chunk

_ALIGNMENT = 8


def container_chunks(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[Chunk]:
    """The container's bytes: preamble, then every tensor in the order of names.

    Args:
        tensors: CPU tensors; those that are not contiguous are copied.
        metadata: Text by name, kept in the order given.

    Raises:
        ValueError: For a tensor on another device.
    """
    ready = [tensors[name].detach().contiguous() for name in sorted(tensors)]
    if any(tensor.device.type != "cpu" for tensor in ready):
        message = "tensors must be on the CPU"
        raise ValueError(message)
    stored = {
        name: (
            DTYPE_NAME_OF[tensor.dtype],
            tuple(tensor.shape),
            tensor.numel() * tensor.element_size(),
        )
        for name, tensor in zip(sorted(tensors), ready, strict=True)
    }
    return [container_preamble(stored, metadata), *map(bytes_of, ready)]


def container_preamble(
    stored: Mapping[str, tuple[str, tuple[int, ...], int]], metadata: Mapping[str, str]
) -> bytes:
    """Everything before the numbers, for tensors stored one after another in the given order.

    Args:
        stored: Dtype (the format's name), shape and bytes of each tensor.
        metadata: Text by name, kept in the order given.
    """
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, (dtype, shape, n_bytes) in stored.items():
        offsets = [start, start + n_bytes]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        start += n_bytes
    preamble = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    preamble += b" " * (-len(preamble) % _ALIGNMENT)
    return struct.pack("<Q", len(preamble)) + preamble


def bytes_of(tensor: Tensor) -> memoryview:
    """A view of a contiguous CPU tensor's bytes, which keeps the tensor alive.

    numpy has this built in, but we do not depend on it.
    """
    assert sys.byteorder == "little", "safetensors files are little-endian"
    size = tensor.numel() * tensor.element_size()
    view: Any = (ctypes.c_char * size).from_address(tensor.data_ptr())
    view.tensor = tensor  # ctypes holds no reference to what an address belongs to.
    return memoryview(view).cast("B")
