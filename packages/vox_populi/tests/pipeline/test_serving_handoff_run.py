"""The file for a server: what it says of a merged model and of an exported adapter is true."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from packages.vox_populi.tests.schemas import meets_schema
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.export.consumers import Consumer
from vox_populi.merge.choices import MergeFormat
from vox_populi.merge.number_type import MergeDtype
from vox_populi.merge.serving_handoff import HANDOFF_FILE
from vox_populi.pipeline.export import ExportRequest
from vox_populi.pipeline.export_run import export_adapter
from vox_populi.pipeline.merge import MergeRequest, merge_weights
from vox_populi.pipeline.train import RunOptions, run_training

MakeContract = Callable[..., FinetuneContract]
FAMILIES = {
    Consumer.PEFT: ("hf-transformers", "adapter_model.safetensors"),
    Consumer.VLLM: ("vllm", "adapter_model.safetensors"),
    Consumer.MLX: ("other", "adapters.safetensors"),
}


def read(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / HANDOFF_FILE).read_bytes())
    assert meets_schema(document, "external-serving-handoff-v2")
    assert str(folder.parent) not in json.dumps(document)
    return document


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in folder.iterdir()
        if path.name not in (HANDOFF_FILE, "merge_receipt.json")
    }


def test_a_server_is_told_what_was_merged_or_exported(
    make_contract: MakeContract, tmp_path: Path
) -> None:
    run = run_training(make_contract(system_prompt="Be brief."), RunOptions()).run
    trained = json.loads((run / "training_manifest.json").read_bytes())
    merged = tmp_path / "merged"
    merge_weights(
        MergeRequest(
            checkpoint=run, output=merged, output_format=MergeFormat.HF, dtype=MergeDtype.BF16
        )
    )
    found = read(merged)
    assert (found["artifact"], found["backend_family"]) == ("model", "hf-transformers")
    assert (found["tokenizer_source"], found["artifact_dir"]) == (".", ".")
    assert found["base_digest"] == trained["base_digest"]
    assert found["template_digest"] == trained["template_digest"]
    assert found["trained_seq_len"] == trained["seq_len"]
    assert found["needs_system_prompt"] is True, "its text was not published"
    config = json.loads((merged / "config.json").read_bytes())
    assert found["dtype"] == config["torch_dtype"] == "bfloat16"
    generation = json.loads((merged / "generation_config.json").read_bytes())
    assert found["eos_token_ids"] == generation["eos_token_id"]
    assert found["end"]["id"] == found["eos_token_ids"][0]
    assert found["chat_template_file"] == "chat_template.jinja"
    assert found["files"] == digests(merged)
    receipt = json.loads((merged / "merge_receipt.json").read_bytes())
    assert HANDOFF_FILE in receipt["written"]
    for consumer, (family, adapter) in FAMILIES.items():
        out = tmp_path / consumer
        export_adapter(
            ExportRequest(source=run, consumer=consumer, output_dir=out, include_system_prompt=True)
        )
        found = read(out)
        assert (found["artifact"], found["backend_family"]) == ("adapter", family)
        assert found["adapter_path"] == adapter
        assert found["files"] == digests(out)
        assert found["needs_system_prompt"] is False
        assert found["trained"]["step"] == trained["results"]["steps"]
