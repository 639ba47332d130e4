"""One small adapter header, for every test of what carries it.

Tests of tensors are not collected on an install without torch.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from vox_populi.artifacts.adapter_header import AdaptedModule, AdapterHeader
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_tensor.lora_spec import LoraSpec

collect_ignore = (
    []
    if find_spec("torch")
    else [
        "test_adapter_v3.py",
        "test_checkpoint_file.py",
        "test_checkpoint_roundtrip.py",
        "test_consumer_form.py",
        "test_gguf_file.py",
        "test_golden_adapters.py",
        "test_peft_adapter.py",
    ]
)


@pytest.fixture
def header() -> AdapterHeader:
    """Two modules, one of them fused, on a base that does not exist."""
    return AdapterHeader(
        lora=LoraSpec(rank=2, alpha=3.0, dropout=0.1, use_rslora=True),
        modules=(
            AdaptedModule(
                ours="blocks.0.attn.qkv",
                base_key="transformer.h.0.attn.c_attn.weight",
                roles=("q", "k", "v"),
                in_features=4,
                out_features=12,
                fan_in_fan_out=True,
            ),
            AdaptedModule(
                ours="lm_head",
                base_key="lm_head.weight",
                roles=("lm_head",),
                in_features=4,
                out_features=7,
                fan_in_fan_out=False,
            ),
        ),
        base_name="tiny-ä",
        base_digest="sha256:00",
        model_type="gpt2",
        tokenizer=TokenizerKind.HF,
        tokenizer_digest="sha256:11",
        template=ChatTemplate.CHATML,
        template_digest="sha256:22",
        system_prompt='Say "ja".\n',
        seq_len=64,
        contract_digest="sha256:33",
        step=5,
    )


_SIZES = {"vocab_size": 24, "tie_word_embeddings": False}


@pytest.fixture
def llama_config() -> ModelConfig:
    """Two layers of width 8 with two heads that share keys; the head is its own."""
    raw = {
        "model_type": "llama",
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 32,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    return parse_model_config(_SIZES | raw, "config.json")


@pytest.fixture
def gpt2_config() -> ModelConfig:
    """Two layers of width 8; the head is the embedding."""
    raw = {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16}
    return parse_model_config({"vocab_size": 24} | raw, "config.json")
