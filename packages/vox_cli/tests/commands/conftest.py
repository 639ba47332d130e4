"""An adapter file on the embedded base, for commands that take one."""

from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.inventory import base_digest, read_inventory
from vox_populi.hf.keymap import adapter_modules
from vox_tensor.lora_spec import LoraSpec


@pytest.fixture
def adapter_bin(tmp_path: Path) -> Path:
    """Rank 2 on every projection but the head."""
    torch = pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    files = pytest.importorskip("vox_populi.adapters.lora_bin")
    inventory = read_inventory(embedded_model_dir())
    header = AdapterHeader(
        lora=LoraSpec(rank=2, alpha=4.0),
        modules=tuple(AdaptedModule.of(m) for m in adapter_modules(inventory.config)[:-1]),
        base_name=EMBEDDED_NAME,
        base_digest=base_digest(inventory),
        model_type=inventory.config.model_type,
        tokenizer=TokenizerKind.VOX,
        tokenizer_digest="sha256:0",
        template=ChatTemplate.CHATML,
        template_digest="sha256:0",
        system_prompt=None,
        seq_len=64,
        contract_digest="sha256:0",
        step=1,
    )
    tensors = {name: torch.ones(shape) for name, shape in header.tensor_shapes().items()}
    path = tmp_path / "model_final.bin"
    files.write_adapter_bin(path, header, tensors)
    return path
