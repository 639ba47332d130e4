"""Safetensors files made of plain Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest


def safetensors_bytes(header: Mapping[str, object] | bytes, data: bytes = b"") -> bytes:
    """A container; a header given as bytes is taken as it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.fixture
def container() -> Callable[..., bytes]:
    """`container(header, data)`: the bytes of a safetensors file."""
    return safetensors_bytes
