"""Training end to end on a tiny model of every family, from its own `save_pretrained` folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests_integration.tiny_models import FAMILY_CASES, write_tiny_model
from tests_integration.tolerances import F32_ACCUMULATED, F32_GRAD, assert_parity, differs
from vox_populi.adapters.lora_bin import read_adapter_bin
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.pipeline.train import RunOptions, TrainReport, run_training
from vox_tensor.errors import VoxError
from vox_tensor.lora_spec import LoraSpec

WORDS = ("red", "green", "blue", "one", "two", "three", "north", "south")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
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


def train(tmp_path: Path, run: str, **changes: Any) -> TrainReport:
    settings: dict[str, Any] = {
        "data_dir": tmp_path / "data",
        "output_dir": tmp_path / run,
        "model_dir": tmp_path / "base",
        "tokenizer": TokenizerKind.HF,
        "lora": LoraSpec(rank=4, alpha=8.0),
        "epochs": 2,
        "batch_size": 8,
        "grad_accum": 1,
        "seq_len": 96,
        "learning_rate": 5e-3,
        "warmup_steps": 1,
        "threads": 1,
    }
    return run_training(FinetuneContract.of(**{**settings, **changes}), RunOptions())


@pytest.mark.parametrize("name", FAMILY_CASES)
@pytest.mark.requirement("11")
def test_every_family_learns_from_its_own_folder_and_tokenizer(
    name: str, tmp_path: Path, data_dir: Path
) -> None:
    write_tiny_model(tmp_path / "base", name, tokenizer=True, sharded=True)
    report = train(tmp_path, "run")
    assert report.heldout_loss_before is not None
    assert report.heldout_loss_after is not None
    assert report.heldout_loss_after < report.heldout_loss_before
    manifest = json.loads((tmp_path / "run" / "training_manifest.json").read_text("utf-8"))
    assert manifest["execution_kernel"] == "burn_lora"
    assert manifest["training_objective_note"] == "burn_lora_masked_chatml_ce"


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_eight_rows_at_once_equal_one_row_eight_times(
    name: str, tmp_path: Path, data_dir: Path
) -> None:
    write_tiny_model(tmp_path / "base", name, tokenizer=True)
    adapters = []
    for run, batch, accumulate in (("together", 8, 1), ("apart", 1, 8)):
        train(tmp_path, run, batch_size=batch, grad_accum=accumulate, max_steps=1, warmup_steps=0)
        adapters.append(read_adapter_bin(tmp_path / run / "model_final.bin").tensors)
    for key, together in adapters[0].items():
        assert_parity(adapters[1][key], together, F32_ACCUMULATED)
        if key.endswith("lora_B"):
            assert differs(together, torch.zeros_like(together), F32_GRAD), "B must have moved"


def test_the_vox_tokenizer_needs_an_embedding_that_holds_it(tmp_path: Path, data_dir: Path) -> None:
    write_tiny_model(tmp_path / "base", "llama", tokenizer=True)
    with pytest.raises(VoxError, match="MENS-P") as caught:
        train(tmp_path, "run", tokenizer=TokenizerKind.VOX)
    assert "MENS-P013" in str(caught.value)
    assert not (tmp_path / "run").exists()
