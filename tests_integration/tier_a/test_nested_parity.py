"""Tier A: text models within vision-language folders, against the whole model in transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

from tests_integration.foreign_nested import write_foreign_nested
from tests_integration.tier_a.test_peft_interop import (
    IDS,
    PEFT_FILES,
    block_modules,
    our_logits,
    write_adapter,
)
from tests_integration.tiny_models import write_tiny_tokenizer
from tests_integration.tiny_nested import NESTED, write_nested
from tests_integration.tolerances import F32_LOGITS, F32_MERGED, assert_parity, differs
from vox_populi.contract.choices import Backend, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ModelError
from vox_populi.export.consumers import Consumer
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import adapter_modules
from vox_populi.merge.choices import MergeFormat, Onto
from vox_populi.pipeline.export import ExportRequest
from vox_populi.pipeline.export_run import export_adapter
from vox_populi.pipeline.merge import (
    MergeRequest,
    QloraMergeRequest,
    merge_qlora,
    merge_weights,
)
from vox_populi.pipeline.quantize import QuantizeRequest, quantize_model
from vox_populi.pipeline.train import RunOptions, run_training
from vox_tensor.lora_spec import LoraSpec

SPEC = LoraSpec(rank=3, alpha=7.5)
THROUGH_TRANSFORMERS = ("qwen3_5", "qwen2_5_vl", "gemma4")
PROCESSOR = '{"image_seq_length" : 4}\n'


def write_base(folder: Path, name: str, *, older_names: bool = True) -> Any:
    """A folder with a tokenizer and the file of a processor."""
    model: Any
    if name in NESTED:
        model = write_nested(folder, name, older_names=older_names)
        write_tiny_tokenizer(folder)
    else:
        model = write_foreign_nested(folder, name, older_names=older_names, spread=0.3)
    (folder / "processor_config.json").write_text(PROCESSOR, encoding="utf-8")
    return model


@torch.no_grad()
def logits_of(model: Any) -> Tensor:
    logits: Tensor = model.eval()(input_ids=torch.tensor([IDS])).logits[0]
    return logits


def their_model(folder: Path) -> Any:
    """The whole model, which must find every key that it expects, and no other."""
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    model, found = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not found[kind]
    return model


def stored(folder: Path) -> dict[str, Tensor]:
    return {
        name: tensor
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def merged(tmp_path: Path) -> Path:
    request = MergeRequest(
        checkpoint=tmp_path / "run.bin",
        output=tmp_path / "merged",
        model_dir=tmp_path / "base",
        output_format=MergeFormat.HF,
        max_shard_bytes=60_000,
    )
    merge_weights(request)
    return tmp_path / "merged"


@pytest.mark.parametrize(
    ("name", "older_names"),
    [
        *((name, True) for name in NESTED),
        ("gemma3", False),
        *((name, True) for name in THROUGH_TRANSFORMERS),
    ],
)
def test_a_merged_text_model_is_base_and_adapter_in_the_whole_model(
    name: str, older_names: bool, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    whole = write_base(base, name, older_names=older_names)
    tensors = write_adapter(tmp_path / "run.bin", base, SPEC, block_modules(base))
    bare = our_logits(base, SPEC, {key: 0 * tensor for key, tensor in tensors.items()})
    ours = our_logits(base, SPEC, tensors)
    assert_parity(bare, logits_of(whole), F32_LOGITS)
    assert differs(ours, bare, F32_LOGITS), "the adapter must change something"

    folder = merged(tmp_path)
    assert_parity(ours, logits_of(their_model(folder)), F32_LOGITS)
    assert (folder / "processor_config.json").read_text(encoding="utf-8") == PROCESSOR
    before, after, inventory = stored(base), stored(folder), read_inventory(base)
    assert after.keys() == before.keys()
    assert inventory.others
    assert all(torch.equal(after[key], before[key]) for key in inventory.others)
    changed = [key for key, tensor in after.items() if not torch.equal(tensor, before[key])]
    assert len(changed) == len(block_modules(base))
    receipt = json.loads((folder / "merge_receipt.json").read_text(encoding="utf-8"))
    assert receipt["tensors"] == len(before)

    request = ExportRequest(
        source=tmp_path / "run.bin",
        output_dir=tmp_path / "peft",
        consumer=Consumer.PEFT,
        model_dir=base,
        keep_base_text=True,
    )
    export_adapter(request)
    loaded: Any = PeftModel.from_pretrained(their_model(base), str(tmp_path / "peft"))
    found = {
        parameter.replace(".default.", ".")
        for parameter, _ in loaded.named_parameters()
        if "lora_" in parameter
    }
    assert found == set(load_file(tmp_path / "peft" / PEFT_FILES[1]))
    assert_parity(ours, logits_of(loaded), F32_LOGITS)


@pytest.mark.parametrize("older_names", [True, False])
def test_an_adapted_head_is_untied_under_the_names_of_the_folder(
    older_names: bool, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    write_base(base, "mistral3", older_names=older_names)
    modules = adapter_modules(read_inventory(base).config)
    write_adapter(tmp_path / "run.bin", base, SPEC, modules)
    folder = merged(tmp_path)
    name = "language_model.lm_head.weight" if older_names else "lm_head.weight"
    assert stored(folder).keys() - stored(base).keys() == {name}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["tie_word_embeddings"] is config["text_config"]["tie_word_embeddings"] is False
    assert differs(logits_of(their_model(folder)), logits_of(their_model(base)), F32_LOGITS)


@pytest.mark.parametrize(
    ("name", "backend"),
    [("gemma3", Backend.LORA), ("gemma3", Backend.QLORA), ("qwen2_5_vl", Backend.QLORA)],
)
def test_a_text_model_is_trained_and_merged(name: str, backend: Backend, tmp_path: Path) -> None:
    base, run, output = tmp_path / "base", tmp_path / "run", tmp_path / "merged"
    write_base(base, name)
    data = tmp_path / "data"
    data.mkdir()
    rows = [{"prompt": f"say {n}", "response": f"{n} it is"} for n in range(8)]
    for name in ("train", "valid"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (data / f"{name}.jsonl").write_text(text, encoding="utf-8")
    report = run_training(
        FinetuneContract.of(
            data_dir=data,
            output_dir=run,
            model_dir=base,
            tokenizer=TokenizerKind.HF,
            backend=backend,
            lora=SPEC,
            epochs=2,
            batch_size=4,
            grad_accum=1,
            seq_len=64,
            learning_rate=5e-3,
            warmup_steps=0,
            threads=1,
        ),
        RunOptions(),
    )
    assert report.heldout_loss_before is not None
    assert report.heldout_loss_after is not None
    assert report.heldout_loss_after < report.heldout_loss_before
    if backend is Backend.QLORA:
        merge_qlora(QloraMergeRequest(adapter=run, output=output, onto=Onto.DEQUANT))
    else:
        merge_weights(MergeRequest(checkpoint=run, output=output, output_format=MergeFormat.HF))
    after = logits_of(their_model(output))
    assert differs(after, logits_of(their_model(base)), F32_MERGED)


def test_what_a_text_model_within_another_has_no_form_for_is_refused_by_name(
    tmp_path: Path,
) -> None:
    base = tmp_path / "base"
    write_base(base, "llava")
    with pytest.raises(ModelError) as caught:
        quantize_model(QuantizeRequest(model_dir=base, output=tmp_path / "nf4"))
    assert caught.value.problems[0].code == "MENS-H261"
    assert not (tmp_path / "nf4").exists()
    path = base / "config.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    packed = {"load_in_4bit": True, "quant_method": "bitsandbytes", "bnb_4bit_quant_type": "nf4"}
    path.write_text(json.dumps({**raw, "quantization_config": packed}), encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        read_inventory(base, allow_nf4=True)
    assert "MENS-H260" in {problem.code for problem in caught.value.problems}
