"""Row 12 of the acceptance runbook: QLoRA runs from the command line, and what they leave."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.schemas import meets_schema
from tests_integration.tiny_models import write_tiny_model
from vox_cli.app import run
from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.v3.files import read_qlora_adapter

WORDS = ("red", "green", "blue", "one", "two", "three", "north", "south")
SMALL = (
    *("--epochs", "4", "--rank", "4", "--alpha", "8", "--lr", "1e-2", "--warmup", "1"),
    *("--batch-size", "8", "--grad-accum", "1", "--seq-len", "96", "--threads", "1"),
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Rows whose answer follows from the question, held out ones too."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, first in (("train", 0), ("valid", 3)):
        rows = [
            {"prompt": f"say {word} {'again ' * (i % 5)}", "response": f"{word} it is, {word}"}
            for i, word in enumerate(WORDS[first:] * 3)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def train(
    tmp_path: Path,
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Run `vox mens train --backend qlora …` and give its JSON document."""
    for name in [name for name in os.environ if name.startswith("VOX_")]:
        monkeypatch.delenv(name)

    def call(*more: str) -> dict[str, Any]:
        folders = ("--data-dir", str(data_dir), "--output-dir", str(tmp_path / "run"))
        argv = ["mens", "train", "--backend", "qlora", *folders, *SMALL, *more, "--json"]
        code = run(argv)
        captured = capsys.readouterr()
        assert code == 0, captured.err
        document = json.loads(captured.out)
        assert isinstance(document, dict)
        return document

    return call


def read_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def train_start(run_folder: Path) -> dict[str, Any]:
    """What the telemetry says of the run's start."""
    lines = (run_folder / "telemetry.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    (start,) = [event for event in events if event["event"] == "train_start"]
    payload = start["payload"]
    assert isinstance(payload, dict)
    return payload


def check_run(run_folder: Path, graph: str, note: str) -> Adapter:
    """Manifest, telemetry, version 3 manifest and adapter of a finished run."""
    manifest = read_json(run_folder / "training_manifest.json")
    assert manifest["execution_kernel"] == "candle_qlora"
    assert manifest["candle_compat_mode"] is True
    assert manifest["candle_qlora_graph_id"] == graph
    assert manifest["training_objective_note"] == note
    start = train_start(run_folder)
    assert start["candle_compat_mode"] is True
    assert start["candle_qlora_graph_id"] == graph

    adapter_manifest = read_json(run_folder / "populi_adapter_manifest_v3.json")
    assert meets_schema(adapter_manifest, "adapter-manifest-v3")
    assert not meets_schema({**adapter_manifest, "version": 2}, "adapter-manifest-v3")
    assert adapter_manifest["adapter_method"] == "qlora"
    assert adapter_manifest["quant"]["base_quant"] == "nf4"
    assert adapter_manifest["graph_id"] == graph

    adapter, sidecar = read_qlora_adapter(run_folder)

    assert sidecar.ours is not None
    moved = [n for n, t in adapter.tensors.items() if n.endswith("lora_B") and t.abs().sum() > 0]
    assert len(moved) == len(adapter.tensors) // 2, "every B starts at zero and must have moved"
    return adapter


@pytest.mark.requirement("12")
@pytest.mark.parametrize("base", ["vox-nano", "llama"])
def test_train_qlora_writes_manifest_v3(base: str, tmp_path: Path, train: Any) -> None:
    model: tuple[str, ...] = ()
    if base != "vox-nano":
        write_tiny_model(tmp_path / "base", base, tokenizer=True, sharded=True)
        model = ("--model", str(tmp_path / "base"), "--tokenizer", "hf")
    document = train(*model)
    assert document["heldout_loss_after"] < document["heldout_loss_before"]
    check_run(tmp_path / "run", "full_graph_v1", "candle_qlora_full_graph_full_assistant_ce")
    manifest = read_json(tmp_path / "run" / "populi_adapter_manifest_v3.json")
    assert manifest["quant"]["double_quant"] is True


@pytest.mark.requirement("12")
def test_train_qlora_writes_manifest_v3_of_a_proxy_and_says_so(tmp_path: Path, train: Any) -> None:
    write_tiny_model(tmp_path / "base", "llama", tokenizer=True)
    train("--model", str(tmp_path / "base"), "--qlora-graph", "proxy", "--qlora-no-double-quant")
    adapter = check_run(tmp_path / "run", "proxy_stack_v1_residual", "candle_qlora_proxy_v1_k1")
    manifest = read_json(tmp_path / "run" / "populi_adapter_manifest_v3.json")
    n_middle = len(adapter.tensors) // 2 - 1
    assert n_middle > 0
    assert manifest["layer_order"] == [*(f"mid{i}" for i in range(n_middle)), "lm_head"]
    assert manifest["quant"]["double_quant"] is False
