"""Two cycles of tiny runs are measured and decided; runs that do not compare are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import DeviceKind, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.errors import ArtifactError
from vox_populi.evals.scorecard_cycle import read_cycle
from vox_populi.evals.scorecard_decision import Verdict
from vox_populi.evals.scorecard_suite import parse_suite
from vox_populi.evals.task_files import TaskFile
from vox_populi.pipeline.scorecard import (
    CycleReport,
    CycleRequest,
    SuiteFiles,
    decide_cycles,
    run_cycle,
    verify,
)
from vox_populi.pipeline.train import RunOptions, run_training

MakeContract = Callable[..., FinetuneContract]
TASKS: dict[str, Any] = {
    "defaults": {"max_new_tokens": 6, "temperature": 1.0},
    "tasks": [
        {"id": "one", "prompt": "Say one.", "checks": [{"kind": "python"}]},
        {"id": "two", "completion": "two", "checks": [{"kind": "contains", "texts": ["o"]}]},
    ],
}


def suite(**changes: Any) -> SuiteFiles:
    document = {"name": "tiny", "tasks": ["t.yaml"], "max_attempts": 3, "margin": 1.0, **changes}
    files = (TaskFile(Path("t.yaml"), TASKS),)
    return SuiteFiles(path=Path("s.yaml"), suite=parse_suite(document, "s.yaml"), files=files)


@pytest.fixture
def train(make_contract: MakeContract, make_qlora: MakeContract, tmp_path: Path) -> Any:
    def one(backend: str, seed: int, **changes: Any) -> Path:
        make = make_contract if backend == "lora" else make_qlora
        folder = tmp_path / "runs" / f"{backend}-{seed}"
        given = {"tokenizer": TokenizerKind.HF, "output_dir": folder, "seed": seed, "max_steps": 2}
        given = given if backend == "lora" else {k: v for k, v in given.items() if k != "tokenizer"}
        report = run_training(make(**{**given, **changes}), RunOptions())
        assert report.lane == {"lora": "research", "qlora": "production"}[backend]
        return report.run

    return one


def measure(lora: Path, qlora: Path, output: Path, **changes: Any) -> CycleReport:
    compute = ComputeSettings(device=DeviceKind.CPU, threads=1)
    return run_cycle(
        CycleRequest(suite=suite(**changes), lora=lora, qlora=qlora, output=output, compute=compute)
    )


def test_two_cycles_are_measured_and_decided(train: Any, tmp_path: Path) -> None:
    runs = {seed: (train("lora", seed), train("qlora", seed)) for seed in (1, 2)}
    first = measure(*runs[1], tmp_path / "c1")
    measure(*runs[2], tmp_path / "c2")
    again = measure(*runs[1], tmp_path / "again")
    assert first.cycle.document() == again.cycle.document()
    for name in ("cycle.json", "cycle.html"):
        assert (tmp_path / "c1" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    document = json.loads((tmp_path / "c1" / "cycle.json").read_text())
    lanes = {each["backend"]: each["lane"] for each in document["conditions"]}
    assert lanes == {"lora": "research", "qlora": "production"}
    assert read_cycle(tmp_path / "c1").document() == document
    assert len(verify(suite(), (tmp_path / "c1", tmp_path / "c2")).cycles) == 2
    with pytest.raises(ArtifactError) as caught:
        verify(suite(seed=5), (tmp_path / "c1",))
    assert caught.value.problems[0].code == "MENS-V033"
    # A margin of 1 allows everything, so what is left is whether the evidence is whole.
    assert decide_cycles((tmp_path / "c1", tmp_path / "c2"), None).ok
    copied = decide_cycles((tmp_path / "c1", tmp_path / "again"), None)
    assert copied.decision.verdict is Verdict.INSUFFICIENT


def test_runs_that_do_not_compare_are_refused(train: Any, tmp_path: Path) -> None:
    lora, qlora = train("lora", 1), train("qlora", 1)
    for runs, code in (((qlora, lora), "MENS-V034"), ((lora, lora), "MENS-V034")):
        with pytest.raises(ArtifactError) as caught:
            measure(*runs, tmp_path / "c")
        assert caught.value.problems[0].code == code
    other = train("lora", 3, system_prompt="Short.")
    with pytest.raises(ArtifactError) as caught:
        measure(other, qlora, tmp_path / "c")
    assert caught.value.problems[0].code == "MENS-V036"
    manifest = lora / "training_manifest.json"
    manifest.write_text(manifest.read_text().replace('"lane": "research"', '"lane": "production"'))
    with pytest.raises(ArtifactError):
        measure(lora, qlora, tmp_path / "c")
    assert not (tmp_path / "c").exists()
