"""Adapter folders of mlx-lm: `adapters.safetensors` and `adapter_config.json`.

mlx-lm computes `y = W x + scale * (x A') B'` with `lora_a` A' `[I, R]` and `lora_b` B' `[R, O]`:
our tensors, transposed. Its loader is not strict, so names must be right the first time.
Shape letters: R rank, I input features, O output features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from torch import Tensor

from vox_populi.containers.tensor_container import container_chunks
from vox_populi.export.consumers import MLX_CONFIG_FILE, MLX_WEIGHTS_FILE, mlx_path
from vox_populi.files.whole_file import Chunk
from vox_populi.hf.keymap import AdapterModule
from vox_populi.hf.model_config import ModelConfig
from vox_tensor.lora_spec import LoraSpec


def mlx_files(
    lora: LoraSpec,
    modules: Sequence[AdapterModule],
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
) -> dict[str, list[Chunk]]:
    """Both files; the scale is written as a number, so nothing is rescaled.

    Args:
        lora: The adapter's LoRA settings; `scale` covers both scale rules.
        modules: The adapted projections.
        tensors: By our names: A `[R, I]`, B `[O, R]`.
        config: The base's config.
    """
    named: dict[str, Tensor] = {}
    for module in modules:
        path = mlx_path(module, config)
        named[f"{path}.lora_a"] = tensors[f"{module.ours}.lora_A"].t().contiguous()
        named[f"{path}.lora_b"] = tensors[f"{module.ours}.lora_B"].t().contiguous()
    values = {
        "fine_tune_type": "lora",
        "lora_parameters": {
            "dropout": lora.dropout,
            "keys": sorted({_within_layer(mlx_path(module, config)) for module in modules}),
            "rank": lora.rank,
            "scale": lora.scale,
        },
        "num_layers": config.n_layers,
    }
    text = json.dumps(values, indent=4, sort_keys=True, allow_nan=False)
    return {
        MLX_CONFIG_FILE: [text.encode()],
        MLX_WEIGHTS_FILE: container_chunks(named, {"format": "mlx"}),
    }


def _within_layer(path: str) -> str:
    """Path within a layer: `self_attn.q_proj` of `model.layers.3.self_attn.q_proj`."""
    parts = path.split(".")
    layer = next((index for index, part in enumerate(parts) if part.isdecimal()), -1)
    return ".".join(parts[layer + 1 :])
