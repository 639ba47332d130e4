"""In which order a merge tries number types."""

from __future__ import annotations

import pytest

from vox_populi.merge.number_type import MergeDtype, number_types


@pytest.mark.parametrize(
    ("asked", "base", "tried"),
    [
        ("auto", "bfloat16", [("bfloat16", None), ("float16", "F16"), ("float32", "F32")]),
        ("auto", "float16", [("float16", None), ("float32", "F32")]),
        ("auto", "float32", [("float32", None)]),
        ("bf16", "bfloat16", [("bfloat16", None)]),
        ("bf16", "float32", [("bfloat16", "BF16")]),
        ("f16", "bfloat16", [("float16", "F16")]),
        ("f32", "float16", [("float32", "F32")]),
    ],
)
def test_auto_begins_with_the_base_and_never_goes_below_it(
    asked: str, base: str, tried: list[tuple[str, str | None]]
) -> None:
    found = number_types(MergeDtype(asked), base)
    assert [(kind.config_name, kind.stored_name) for kind in found] == tried
