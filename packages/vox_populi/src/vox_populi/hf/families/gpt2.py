"""GPT-2: learned positions, LayerNorm, one matrix for q, k and v, no gate, weights `[in, out]`."""

from __future__ import annotations

from vox_populi.hf.model_family import (
    Activation,
    ConfigFormat,
    FixedSetting,
    GgufForm,
    Limit,
    MlxForm,
    ModelFamily,
    NormKind,
    TensorNames,
)

FAMILY = ModelFamily(
    name="gpt2",
    label="GPT-2",
    architectures=("GPT2LMHeadModel", "GPT2Model"),
    norm=NormKind.LAYER,
    config=ConfigFormat(
        width=("n_embd", "hidden_size"),
        layers=("n_layer", "num_hidden_layers"),
        heads=("n_head", "num_attention_heads"),
        kv_heads=None,
        head_dim=None,
        mlp_width="n_inner",
        default_mlp_ratio=4,
        positions=("n_positions", "max_position_embeddings"),
        default_positions=1024,
        norm_eps="layer_norm_epsilon",
        default_norm_eps=1e-5,
        activation="activation_function",
        default_activation="gelu_new",
        tied_by_default=True,
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
        rope=None,
        fixed=(
            FixedSetting("scale_attn_weights", (True,), "attention without the 1/sqrt(d) scale"),
            FixedSetting("scale_attn_by_inverse_layer_idx", (False,), "a scale per layer"),
            FixedSetting(
                "reorder_and_upcast_attn", (False,), "a different order of attention arithmetic"
            ),
        ),
    ),
    tensors=TensorNames(
        embed="transformer.wte",
        pos_embed="transformer.wpe",
        blocks="transformer.h.",
        block={
            "attn_norm": "ln_1",
            "attn.qkv": "attn.c_attn",
            "attn.o": "attn.c_proj",
            "mlp_norm": "ln_2",
            "mlp.up": "mlp.c_fc",
            "mlp.down": "mlp.c_proj",
        },
        final_norm="transformer.ln_f",
        conv1d=True,
        optional_prefix="transformer.",
        derived=("attn.bias", "attn.masked_bias"),
    ),
    gguf=GgufForm(
        architecture="GPT2",
        limits=(
            Limit(
                "activation",
                Activation.GELU_TANH,
                "llama.cpp's GPT-2 computes GELU by the tanh formula",
            ),
        ),
    ),
    mlx=MlxForm(
        blocks="model.h.",
        always_ties_head=True,
        needed_keys=("n_ctx",),
        wants_optional_prefix=False,
        limits=(
            Limit("mlp_ratio", 4, "its GPT-2 has an MLP four times as wide as the model."),
            Limit(
                "activation", Activation.GELU_TANH, "its GPT-2 computes GELU by the tanh formula."
            ),
        ),
    ),
    vllm_has_lora=False,
    tiny={
        "model_type": "gpt2",
        "vocab_size": 24,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 32,
    },
)
