"""The table of number types, held against torch."""

from __future__ import annotations

import pytest

from vox_populi.containers.dtypes import (
    BYTES_OF_VALUE,
    CONFIG_NAME_OF,
    DTYPE_BITS,
    STORED_NAME_OF,
    bytes_of_values,
)


def test_config_names_and_stored_names_are_each_others_inverse() -> None:
    assert {STORED_NAME_OF[name]: name for name in STORED_NAME_OF} == CONFIG_NAME_OF
    assert BYTES_OF_VALUE == {"float32": 4, "bfloat16": 2, "float16": 2}


def test_the_size_of_a_tensor_follows_from_type_and_shape() -> None:
    assert bytes_of_values("F32", (2, 3)) == 24
    assert bytes_of_values("F4", (2, 3)) == 3
    assert bytes_of_values("I64", ()) == 8
    assert bytes_of_values("BF16", (0, 5)) == 0


def test_torch_has_the_widths_and_names_of_the_table() -> None:
    torch = pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    dtypes = pytest.importorskip("vox_populi.containers.torch_dtypes")
    for name, dtype in dtypes.TORCH_DTYPE_OF.items():
        assert 8 * torch.empty(0, dtype=dtype).element_size() == DTYPE_BITS[name]
        assert dtypes.DTYPE_NAME_OF[dtype] == name
    for name, stored in STORED_NAME_OF.items():
        assert getattr(torch, name) is dtypes.TORCH_DTYPES[name] is dtypes.TORCH_DTYPE_OF[stored]
