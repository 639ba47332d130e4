from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from vox_populi.contract.adapter_target import parse_targets
from vox_populi.contract.optimizer_choice import OptimizerKind
from vox_populi.hf.model_config import ModelConfig
from vox_populi.plan.memory_estimate import (
    CAPPED_SCORES,
    CPU_RUNTIME_BYTES,
    CUDA_RUNTIME_BYTES,
    LOSS_CHUNK_ROWS,
    METAL_RUNTIME_BYTES,
    MemoryEstimate,
    WorkingSet,
    activations_per_token,
    count_parameters,
    estimate_memory,
)
from vox_populi.plan.target_modules import select_adapters
from vox_tensor.lora_spec import LoraSpec

MakeConfig = Callable[..., ModelConfig]
ON_CPU = WorkingSet(tokens=100, compute_dtype="float32", device="cpu")

ACTIVATION_SLACK = 0.15
"""Numbers per row of data and the rotation tables are left out of the formula, and weigh most in
a model this small."""


def estimate(
    config: ModelConfig, work: WorkingSet = ON_CPU, rank: int = 2, dropout: float = 0.0
) -> MemoryEstimate:
    modules = select_adapters(config, parse_targets("q,down")).modules
    return estimate_memory(config, modules, LoraSpec(rank=rank, dropout=dropout), work)


def test_the_terms_of_a_small_llama_by_hand(make_config: MakeConfig) -> None:
    found = estimate(make_config())
    # D 16, Q 16, K 8, F 40, L 2, V 300; head tied.
    block = 16 + 16 * 16 + 2 * 8 * 16 + 16 * 16 + 16 + 2 * 40 * 16 + 16 * 40
    assert found.weights == 4 * (300 * 16 + 2 * block + 16)
    assert found.adapter == 4 * 2 * (2 * (16 + 16) + 2 * (40 + 16))
    assert found.gradients == found.adapter
    assert found.optimizer == 2 * found.adapter
    heads = make_config().n_heads
    block_keeps = 2 * 16 + 2 * 16 + 2 * 8 + heads + 2 * 40
    assert found.activations == 100 * (2 * block_keeps + 2 * 16) * 4
    assert found.working == 100 * (4 * 40 + 2 * 16) * 4
    assert found.loss_chunk == 100 * 300 * 4 * 2
    assert found.runtime == CPU_RUNTIME_BYTES
    assert found.total == sum(size for _, size in found.terms())


def test_the_optimizer_decides_what_is_kept_for_each_value(make_config: MakeConfig) -> None:
    config = make_config(hidden_size=256)
    modules = select_adapters(config, parse_targets("q")).modules
    found = {
        kind: estimate_memory(config, modules, LoraSpec(rank=16), ON_CPU, optimizer=kind)
        for kind in OptimizerKind
    }
    adamw = found[OptimizerKind.ADAMW]
    assert adamw.adapter == 4 * config.n_layers * 16 * (256 + config.q_features)
    assert adamw.optimizer == 2 * adamw.adapter
    assert found[OptimizerKind.LION].optimizer == adamw.adapter
    # A and B have 4096 values or more: two codes a value, and two f32 scales for each 256.
    assert found[OptimizerKind.ADAMW8BIT].optimizer == adamw.adapter // 4 * 2 * (256 + 4) // 256
    for kind, estimated in found.items():
        assert estimated == replace(adamw, optimizer=estimated.optimizer), kind


def test_families_keep_what_they_have(make_config: MakeConfig) -> None:
    llama, qwen3, gpt2 = (make_config(family) for family in ("llama", "qwen3", "gpt2"))
    assert activations_per_token(qwen3) - activations_per_token(llama) == 16 + 8
    assert activations_per_token(gpt2) == 2 * 16 + 4 * 16 + gpt2.n_heads + 64


def test_bf16_halves_what_is_in_the_compute_dtype_and_nothing_else(make_config: MakeConfig) -> None:
    wide = estimate(make_config())
    narrow = estimate(make_config(), WorkingSet(100, "bfloat16", device="cuda"))
    for name in ("weights", "activations", "working"):
        assert 2 * getattr(narrow, name) == getattr(wide, name)
    assert (narrow.adapter, narrow.loss_chunk) == (wide.adapter, wide.loss_chunk)


def test_what_libraries_take_depends_on_the_device(make_config: MakeConfig) -> None:
    cpu, cuda, metal, other = (
        estimate(make_config(), WorkingSet(100, "float32", device)).runtime
        for device in ("cpu", "cuda", "mps", "xpu")
    )
    assert (cpu, cuda, metal, other) == (
        CPU_RUNTIME_BYTES,
        CUDA_RUNTIME_BYTES,
        METAL_RUNTIME_BYTES,
        CUDA_RUNTIME_BYTES,
    )
    assert cpu < cuda < metal, "Metal has the interpreter in the same memory"


def test_the_loss_chunk_stops_growing(make_config: MakeConfig) -> None:
    short, long = (
        estimate(make_config(), WorkingSet(tokens, "float32", device="cpu")).loss_chunk
        for tokens in (256, 100_000)
    )
    assert short == long == 256 * 300 * 4 * 2


def test_dropout_keeps_a_mask_per_adapted_input(make_config: MakeConfig) -> None:
    without, with_mask = (estimate(make_config(), dropout=p) for p in (0.0, 0.1))
    assert with_mask.activations - without.activations == 100 * 2 * (16 + 40) * 4


def test_a_tied_head_counts_once(make_config: MakeConfig) -> None:
    tied = make_config()
    untied = replace(tied, tie_word_embeddings=False)
    assert count_parameters(untied) - count_parameters(tied) == 300 * 16


def test_70b_is_the_size_its_name_says(make_config: MakeConfig) -> None:
    config = make_config(
        hidden_size=8192,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        intermediate_size=28672,
        vocab_size=128256,
        tie_word_embeddings=False,
    )
    assert count_parameters(config) == 70_553_706_496  # Llama 3.1 70B


PUBLISHED_PHI = {
    "Phi-3-mini-4k": (
        {"hidden_size": 3072, "num_hidden_layers": 32, "num_attention_heads": 32},
        {"num_key_value_heads": 32, "intermediate_size": 8192, "vocab_size": 32064},
        3_821_079_552,
    ),
    "Phi-4": (
        {"hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40},
        {"num_key_value_heads": 10, "intermediate_size": 17920, "vocab_size": 100352},
        14_659_507_200,
    ),
    "Phi-4-mini": (
        {"hidden_size": 3072, "num_hidden_layers": 32, "num_attention_heads": 24},
        {
            "num_key_value_heads": 8,
            "intermediate_size": 8192,
            "vocab_size": 200064,
            "tie_word_embeddings": True,
        },
        3_836_021_760,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED_PHI)
def test_fused_matrices_are_counted_whole(make_config: MakeConfig, name: str) -> None:
    shape, rest, published = PUBLISHED_PHI[name]
    assert count_parameters(make_config("phi3", **shape, **rest)) == published


@pytest.mark.parametrize("family", ["gemma2", "llama", "olmo2", "qwen3", "gpt2", "phi3"])
@pytest.mark.parametrize("lengths", [(48,), (20, 16, 12)])
def test_the_activation_formula_is_what_the_model_keeps(
    make_config: MakeConfig, family: str, lengths: tuple[int, ...]
) -> None:
    torch = pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    collate = pytest.importorskip("vox_tensor.collate")
    transformer = pytest.importorskip("vox_populi.model.transformer")
    lora_transformer = pytest.importorskip("vox_populi.model.lora_transformer")
    records = pytest.importorskip("vox_tensor.records")
    config = make_config(family)
    model = transformer.Transformer(config)
    modules = select_adapters(config, None).modules
    lora_transformer.attach_adapters(model, modules, LoraSpec(rank=2))
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: object) -> object:
        storage = tensor.untyped_storage()  # type: ignore[attr-defined]  # torch's stub lacks it
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = [tuple(range(5, 5 + length)) for length in lengths]
    batch = collate.collate_window([records.EncodedRow(row, row) for row in ids])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.loss_sum(batch)
    assert loss.requires_grad
    work = WorkingSet(tokens=sum(lengths), compute_dtype="float32", device="cpu")
    found = estimate_memory(config, modules, LoraSpec(rank=2), work).activations
    assert found == pytest.approx(sum(kept.values()), rel=ACTIVATION_SLACK)


def test_the_loss_chunk_is_the_one_that_is_computed() -> None:
    loss = pytest.importorskip("vox_tensor.head_loss", reason="needs vox-tensor[gpu]")
    assert LOSS_CHUNK_ROWS == loss.CHUNK_ROWS


def test_soft_caps_have_buffers_of_their_own(make_config: MakeConfig) -> None:
    capped = pytest.importorskip("vox_tensor.capped_attention", reason="needs vox-tensor[gpu]")
    assert CAPPED_SCORES == capped.BLOCK_SCORES
    caps = {"attn_logit_softcapping": None, "final_logit_softcapping": None}
    found, without = (estimate(make_config("gemma2", **each)) for each in ({}, caps))
    assert found.working == without.working + 4 * 4 * CAPPED_SCORES
    assert 2 * found.loss_chunk == 3 * without.loss_chunk
