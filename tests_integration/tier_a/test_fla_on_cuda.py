"""Tier A on a CUDA device: runs whose linear attention flash-linear-attention computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests_integration.foreign_models import foreign_settings, write_foreign_model
from tests_integration.tier_a.device_runs import Case, run_case, write_inputs
from tests_integration.tolerances import BF16_TRAINED, assert_close_number
from vox_populi.contract.choices import DeviceKind
from vox_populi.model.packing_proof import measure_packing

pytestmark = pytest.mark.gpu

MODEL = "qwen3_5_text"
HEAD: dict[str, Any] = {"linear_key_head_dim": 32, "linear_value_head_dim": 32}


@pytest.fixture
def version() -> str:
    """The package's version."""
    found: str = pytest.importorskip("fla", reason="needs vox-populi[fla]").__version__
    return found


def test_a_toy_with_the_kernels_of_the_package_computes_what_the_class_does(version: str) -> None:
    here = measure_packing(foreign_settings(MODEL), "config.json", "cuda")
    there = measure_packing(foreign_settings(MODEL), "config.json", "cpu")
    assert dict(here.kernels)["fla"] == version
    assert dict(there.kernels)["fla"] == "torch"
    assert here.alone < 1e-3
    assert here.repeats


def test_a_run_with_the_kernels_of_the_package_matches_the_cpu(
    version: str, tmp_path: Path
) -> None:
    write_inputs(tmp_path)
    write_foreign_model(tmp_path / MODEL, MODEL, tokenizer=True, spread=0.5, **HEAD)
    case = Case(MODEL)
    found: dict[str, Any] = run_case(tmp_path, case, tmp_path / "here", DeviceKind.CUDA)
    expected = run_case(tmp_path, case, tmp_path / "cpu", DeviceKind.CPU)
    manifests = [
        json.loads((tmp_path / name / "training_manifest.json").read_text("utf-8"))
        for name in ("here", "cpu")
    ]
    kernels = [each["graph_source"]["kernels"]["fla"] for each in manifests]
    assert kernels == [version, "torch"]
    # Its products are in tf32 or bf16, whatever type comes in.
    for name in ("losses", "held_out", "evaluated"):
        for one, other in zip(found[name], expected[name], strict=True):
            assert_close_number(one, other, BF16_TRAINED)
    assert found["held_out"][1] < found["held_out"][0], "training must have taught something"
