"""Tier A: what a merge says of rows, against transformers and PEFT on the same ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests_integration.tier_a.test_gguf_interop import write_adapter
from tests_integration.tiny_models import GGUF_CASES, PLAIN_CASES, VOCAB, write_tiny_model
from tests_integration.tolerances import F32_LOSS, assert_parity, differs
from vox_populi.export.consumers import Consumer, GgufTypeChoice
from vox_populi.merge.choices import MergeFormat
from vox_populi.merge.number_type import MergeDtype
from vox_populi.merge.receipt import RowCheck
from vox_populi.pipeline.export import ExportRequest, export_adapter
from vox_populi.pipeline.gguf import GgufRequest, export_gguf
from vox_populi.pipeline.merge import (
    MergeRequest,
    merge_weights,
)
from vox_populi.runs.check_rows import CHECK_ROWS_FILE, RowOrigin, pick_check_rows
from vox_tensor.records import IGNORE_INDEX, EncodedRow

LENGTHS, PROMPT = (9, 23, 14), 4


@pytest.fixture(params=PLAIN_CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[EncodedRow]]:
    """A base, an adapter of it with rows beside it, in a folder."""
    name = request.param.replace("mistral", "mistral_no_window")
    write_tiny_model(tmp_path / "base", name, tokenizer=True)
    write_adapter(tmp_path / "run.bin", tmp_path / "base")
    generator = torch.Generator().manual_seed(11)
    rows = []
    for length in LENGTHS:
        ids = tuple(torch.randint(3, VOCAB, (length,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * PROMPT + ids[PROMPT:]))
    picked = pick_check_rows(rows, RowOrigin.HELD_OUT, "sha256:2")
    (tmp_path / CHECK_ROWS_FILE).write_text(json.dumps(picked.as_json()), encoding="utf-8")
    return tmp_path, rows


def by_transformers(model: Any, rows: list[EncodedRow]) -> tuple[Tensor, list[int]]:
    """Mean loss and greedy tokens at the learned positions, row by row."""
    losses, chosen = [], []
    for row in rows:
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            logits = model(ids).logits[0, PROMPT - 1 : -1].double()
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, PROMPT:], reduction="none"))
        chosen += logits.argmax(-1).tolist()
    return torch.cat(losses).mean().float(), chosen


def load(folder: Path) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
def test_losses_and_choices_are_those_of_transformers(
    case: tuple[Path, list[EncodedRow]],
) -> None:
    home, rows = case
    request = MergeRequest(
        checkpoint=home / "run.bin",
        output=home / "merged",
        model_dir=home / "base",
        output_format=MergeFormat.HF,
        dtype=MergeDtype.F32,
    )
    found = merge_weights(request).receipt.rows
    assert found is not None
    peft = ExportRequest(
        source=home / "run.bin",
        consumer=Consumer.PEFT,
        output_dir=home / "peft",
        model_dir=home / "base",
    )
    export_adapter(peft)
    base_loss, base = by_transformers(load(home / "base"), rows)
    adapted: Any = PeftModel.from_pretrained(load(home / "base"), str(home / "peft")).eval()
    adapter_loss, adapter = by_transformers(adapted, rows)
    merged_loss, merged = by_transformers(load(home / "merged"), rows)
    assert differs(adapter_loss, base_loss, F32_LOSS)
    for ours, theirs in (
        (found.base_loss, base_loss),
        (found.adapter_loss, adapter_loss),
        (found.merged_loss, merged_loss),
    ):
        assert_parity(torch.tensor(ours), theirs, F32_LOSS)
    assert found.learned == len(adapter) == sum(LENGTHS) - PROMPT * len(LENGTHS)
    assert found.same == sum(a == b for a, b in zip(adapter, merged, strict=True))
    assert found.changed == sum(a != b for a, b in zip(adapter, base, strict=True)) > 0


@pytest.mark.parametrize("case", GGUF_CASES, indirect=True)
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
def test_a_gguf_of_a_run_is_what_was_measured(
    case: tuple[Path, list[EncodedRow]], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures belong to the file: its numbers, put into the base, give the same loss."""
    home, rows = case
    monkeypatch.setattr(RowCheck, "is_within", True)
    output = home / "model.gguf"
    report = export_gguf(
        GgufRequest(
            source=home / "run.bin",
            output=output,
            kind=GgufTypeChoice(kind),
            model_dir=home / "base",
        )
    )
    assert report.rows is not None
    # As in test_gguf_interop: a Mistral's file is one of a Llama to transformers.
    config = load(home / "base").config
    again: Any = AutoModelForCausalLM.from_pretrained(
        home,
        gguf_file=output.name,
        config=None if config.model_type == "mistral" else config,
        dtype=torch.float32,
    )
    loss, _ = by_transformers(again.eval(), rows)
    assert_parity(torch.tensor(report.rows.merged_loss), loss, F32_LOSS)
