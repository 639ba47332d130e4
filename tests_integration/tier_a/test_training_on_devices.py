"""Training, resume, evaluation, answers, merge on each device that is there, against the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests_integration.tier_a.device_runs import (
    CASES,
    DROPOUT,
    PLAIN,
    Case,
    qlora,
    run_case,
    write_inputs,
)
from tests_integration.tolerances import (
    BF16_TRAINED,
    EXACT,
    F32_MERGED,
    F32_TRAINED,
    Tolerance,
    assert_close_number,
)
from vox_populi.contract.choices import (
    ActivationMemoryChoice,
    Backend,
    ComputeDtype,
    DeviceKind,
)
from vox_populi.contract.qlora_spec import DenseCopiesChoice, QloraGraph
from vox_populi.merge.choices import MergeFormat, Onto
from vox_populi.pipeline.evaluate import EvalRequest, evaluate
from vox_populi.pipeline.merge import (
    MergeRequest,
    QloraMergeRequest,
    merge_qlora,
    merge_weights,
)
from vox_populi.pipeline.weights_choice import WeightsChoice

DEVICES = [
    pytest.param(DeviceKind.CPU),
    pytest.param(DeviceKind.CUDA, marks=pytest.mark.gpu),
]
COMPARED = ("losses", "norms", "held_out", "evaluated")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    write_inputs(folder, "llama")
    return folder


def repeatable(device: DeviceKind) -> Tolerance:
    """Two equal runs: the same bytes on a CPU; on a GPU sums may come in any order."""
    return EXACT if device is DeviceKind.CPU else F32_TRAINED


def assert_alike(one: dict[str, Any], other: dict[str, Any], row: Tolerance) -> None:
    for name in COMPARED:
        for actual, expected in zip(one.get(name, ()), other.get(name, ()), strict=True):
            assert_close_number(actual, expected, row)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["llama", "bf16", "nf4_step", "proxy"])
def test_a_run_on_a_device_matches_the_cpu(
    device: DeviceKind, name: str, inputs: Path, tmp_path: Path
) -> None:
    case = Case("llama", CASES[name].changes)
    found = run_case(inputs, case, tmp_path / "here", device)
    expected = run_case(inputs, case, tmp_path / "cpu", DeviceKind.CPU)
    row = repeatable(device)
    if name == "bf16" and device is not DeviceKind.CPU:
        row = BF16_TRAINED
    assert_alike(found, expected, row)
    assert found["held_out"][1] < found["held_out"][0], "training must have taught something"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "changes",
    [
        {"lora": DROPOUT},
        qlora(QloraGraph.FULL, DenseCopiesChoice.NONE, lora=DROPOUT),
        qlora(QloraGraph.PROXY, DenseCopiesChoice.LAYER, lora=DROPOUT),
    ],
    ids=["lora", "qlora", "proxy"],
)
def test_a_run_with_dropout_resumes_as_if_uninterrupted(
    device: DeviceKind, changes: dict[str, Any], inputs: Path, tmp_path: Path
) -> None:
    found = run_case(inputs, Case("llama", changes), tmp_path / "run", device)
    again = run_case(inputs, Case("llama", changes), tmp_path / "again", device)
    without = {**changes, "lora": PLAIN["lora"]}
    plain = run_case(inputs, Case("llama", without), tmp_path / "plain", device)
    assert found["steps"][0] == found["steps"][1]
    assert_alike(found, again, repeatable(device))
    for actual, expected in zip(found["held_out_resumed"], found["held_out"][1:], strict=True):
        assert_close_number(actual, expected, repeatable(device))
    assert found["resumed_equal"] or device is not DeviceKind.CPU
    assert found["losses"] != plain["losses"], "dropout must have changed something"


@pytest.mark.parametrize("device", DEVICES)
def test_how_long_dense_copies_live_decides_no_number(
    device: DeviceKind, inputs: Path, tmp_path: Path
) -> None:
    policies = (DenseCopiesChoice.NONE, DenseCopiesChoice.LAYER, DenseCopiesChoice.STEP)
    runs = [
        run_case(inputs, Case("llama", qlora(QloraGraph.FULL, each)), tmp_path / each, device)
        for each in policies
    ]
    for other in runs[1:]:
        assert_alike(other, runs[0], repeatable(device))
        assert other["answer"] == runs[0]["answer"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", [Backend.LORA, Backend.QLORA])
def test_what_is_kept_for_the_backward_pass_decides_no_number(
    device: DeviceKind, backend: Backend, inputs: Path, tmp_path: Path
) -> None:
    def found(choice: ActivationMemoryChoice) -> dict[str, Any]:
        changes = {"backend": backend, "lora": DROPOUT, "activation_memory": choice}
        return run_case(inputs, Case("llama", changes), tmp_path / choice, device)

    kept = found(ActivationMemoryChoice.NONE)
    assert kept["held_out"][1] < kept["held_out"][0], "training must have taught something"
    for choice in (
        ActivationMemoryChoice.SELECTIVE,
        ActivationMemoryChoice.FULL,
        ActivationMemoryChoice.OFFLOAD,
    ):
        other = found(choice)
        assert_alike(other, kept, repeatable(device))
        assert other["answer"] == kept["answer"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("is_qlora", [False, True])
def test_a_merged_run_measures_as_its_adapter_does(
    device: DeviceKind, inputs: Path, tmp_path: Path, *, is_qlora: bool
) -> None:
    changes = qlora(QloraGraph.FULL, DenseCopiesChoice.STEP) if is_qlora else {}
    run, output = tmp_path / "run", tmp_path / "merged"
    found = run_case(inputs, Case("llama", changes), run, device)
    if is_qlora:
        merge_qlora(QloraMergeRequest(adapter=run, output=output, onto=Onto.DEQUANT, threads=1))
    else:
        merge_weights(
            MergeRequest(checkpoint=run, output=output, output_format=MergeFormat.HF, threads=1)
        )
    weights = WeightsChoice(model_dir=output, device=device, dtype=ComputeDtype.F32)
    merged = evaluate(EvalRequest(data=inputs / "data" / "valid.jsonl", weights=weights))
    assert_close_number(merged.loss, found["evaluated"][0], F32_MERGED)
    assert found["held_out"][0] != found["held_out"][1]
