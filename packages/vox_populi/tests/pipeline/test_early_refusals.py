"""Cheap refusals cost no import of torch; a child process says what it has loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vox_populi.pipeline.runners import NEEDED_TO_RUN

for module in NEEDED_TO_RUN:
    pytest.importorskip(module, reason="needs vox-tensor[gpu]")

SCRIPT = """
import json, sys
from pathlib import Path as P
from vox_populi.export.consumers import Consumer
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.pipeline.chat import open_chat
from vox_populi.runs.adapter_place import AdapterForm
from vox_populi.pipeline.convert import ConvertRequest, convert_adapter
from vox_populi.pipeline.evaluate import EvalRequest, evaluate
from vox_populi.pipeline.export import ExportRequest, export_adapter
from vox_populi.pipeline.generate import GenerateRequest, generate
from vox_populi.pipeline.import_peft import ImportRequest, import_adapter
from vox_populi.pipeline.merge import MergeRequest, QloraMergeRequest, merge_qlora, merge_weights
from vox_populi.pipeline.quantize import QuantizeRequest, quantize_model
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.pipeline.trial import try_one_step
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.errors import VoxError

nix, occ, rows, new = P("nix"), P("occupied"), P("data/train.jsonl"), P("new")
weights = lambda **given: WeightsChoice(**given)
asked = {
    "train": lambda: run_training(
        FinetuneContract.of(data_dir=P("data"), output_dir=occ), RunOptions()),
    "train_no_data": lambda: run_training(
        FinetuneContract.of(data_dir=nix, output_dir=new), RunOptions()),
    "train_no_model": lambda: run_training(
        FinetuneContract.of(data_dir=P("data"), output_dir=new, model_dir=nix), RunOptions()),
    "try_one_step": lambda: try_one_step(FinetuneContract.of(data_dir=nix, output_dir=new)),
    "merge": lambda: merge_weights(MergeRequest(checkpoint=nix, output=occ)),
    "merge_qlora": lambda: merge_qlora(QloraMergeRequest(adapter=nix, output=occ)),
    "export": lambda: export_adapter(
        ExportRequest(source=nix, consumer=Consumer.PEFT, output_dir=occ)),
    "import": lambda: import_adapter(ImportRequest(source=nix, output=rows)),
    "convert": lambda: convert_adapter(
        ConvertRequest(source=nix, target=AdapterForm.V3, output=occ)),
    "convert_bin": lambda: convert_adapter(
        ConvertRequest(source=nix, target=AdapterForm.LORA_BIN, output=rows)),
    "quantize": lambda: quantize_model(
        QuantizeRequest(model_dir=nix, output=occ)),
    "eval": lambda: evaluate(EvalRequest(data=nix, weights=weights(run=nix))),
    "generate": lambda: generate(GenerateRequest(weights=weights(checkpoint=nix))),
    "generate_model": lambda: generate(GenerateRequest(weights=weights(model_dir=nix))),
    "chat": lambda: open_chat(GenerateRequest(weights=weights(adapter=nix, model_dir=nix))),
}
found, fixes = {}, {}
for name, ask in asked.items():
    try:
        ask()
    except VoxError as error:
        found[name] = [problem.code for problem in error.problems]
        fixes[name] = " ".join(problem.fix for problem in error.problems)
print(json.dumps({"found": found, "fixes": fixes, "torch": "torch" in sys.modules}))
"""


def test_what_only_paths_show_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "note.txt").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["found"] == {
        "train": ["MENS-E001"],
        "train_no_data": ["MENS-P011"],
        "train_no_model": ["MENS-H001"],
        "try_one_step": ["MENS-P011"],
        "merge": ["MENS-A001", "MENS-E001"],
        "merge_qlora": ["MENS-A561", "MENS-E001"],
        "export": ["MENS-A001", "MENS-A075"],
        "import": ["MENS-A060", "MENS-A075"],
        "convert": ["MENS-A525", "MENS-A075"],
        "convert_bin": ["MENS-A525", "MENS-A075"],
        "quantize": ["MENS-H001", "MENS-A075"],
        "eval": ["MENS-D001", "MENS-A022"],
        "generate": ["MENS-A001"],
        "generate_model": ["MENS-H001"],
        "chat": ["MENS-H001", "MENS-A060"],
    }
    assert answer["torch"] is False
    # Nothing but a training run can be resumed, and only in its own folder.
    assert [name for name, fix in answer["fixes"].items() if "--resume" in fix] == []
