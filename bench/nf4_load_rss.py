"""Load a synthetic sharded base for QLoRA in a fresh process: does its peak memory stay in bounds?

    .venv/bin/python bench/nf4_load_rss.py [--gigabytes 6] [--dtype float16] [--source mxfp4]

Allowed are the quantised model, three times the largest tensor of the base and 512 MiB for the
interpreter and torch. With `--source transformers` the base is a GLM-4, which has no native code;
with `mxfp4` a gpt-oss whose experts are in that form, 1.3 GB if it were dense.
The last line on stdout is one JSON object; exit code 1 beyond the bound.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from merge_bench import SHAPES, write_base
from safetensors.torch import save_file

from vox_populi.hf.fused_experts import fused_tensors
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import read_model_config
from vox_populi.model.allocator import keep_freed_memory
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.nf4_load import load_nf4_base
from vox_tensor.lora import FrozenLinear
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DensePool, Nf4Weight

SLACK = 512 * 2**20
GLM4 = {
    "model_type": "glm4",
    "architectures": ["Glm4ForCausalLM"],
    "head_dim": 128,
    "num_key_value_heads": 32,
    "pad_token_id": 0,
}
"""A type that only transformers computes; gate and up are one tensor."""
GPT_OSS = {
    "model_type": "gpt_oss",
    "architectures": ["GptOssForCausalLM"],
    "vocab_size": 32_000,
    "hidden_size": 1024,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "num_local_experts": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 3,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "mxfp4"},
}


def main() -> int:
    """Make the base, load it in another process, compare."""
    options = parse_options()
    if options.load is not None:
        sys.stdout.write(json.dumps(load(options.load, options)) + "\n")
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        base = Path(scratch) / "base"
        if options.source == "mxfp4":
            largest = write_packed_base(base)
        else:
            changes = GLM4 if options.source == "transformers" else {}
            largest = write_base(base, options.gigabytes * 10**9, options.dtype, **changes)
        size = sum(path.stat().st_size for path in base.iterdir())
        result = measured_elsewhere(base, options)
    allowed = result.pop("model_bytes") + 3 * largest + SLACK
    peak = result.pop("peak_bytes")
    within = peak <= allowed
    report = {
        "base_gb": round(size / 1e9, 2),
        "source": options.source,
        "dtype": options.dtype,
        "compute_dtype": options.compute_dtype,
        "double_quant": not options.no_double_quant,
        **result,
        "largest_tensor_mib": round(largest / 2**20, 1),
        "peak_mib": round(peak / 2**20, 1),
        "allowed_peak_mib": round(allowed / 2**20, 1),
        "within_memory": within,
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if within else 1


def write_packed_base(base: Path) -> int:
    """A gpt-oss with random codes for its experts; bytes of its largest tensor, dense."""
    base.mkdir()
    (base / "config.json").write_text(json.dumps(GPT_OSS), encoding="utf-8")
    draws = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    config = read_model_config(base, GraphSource.AUTO)
    wholes = fused_tensors(config)
    packed = {name for name in wholes if "bias" not in name}
    parts = {part for whole in wholes.values() for part, _ in whole.parts}
    shapes = {key.theirs: key.shape for key in tensor_keys(config) if key.theirs not in parts}
    for name, shape in (shapes | {name: whole.shape for name, whole in wholes.items()}).items():
        if name in packed:
            experts, n_in, n_out = shape
            blocks = (experts, n_out, n_in // 32, 16)
            drawn = torch.randint(256, blocks, generator=draws, dtype=torch.uint8)
            tensors[f"{name}_blocks"] = drawn
            tensors[f"{name}_scales"] = torch.full(blocks[:-1], 120, dtype=torch.uint8)
        else:
            tensors[name] = 0.02 * torch.randn(shape, generator=draws).bfloat16()
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    return max(info.n_bytes for info in read_inventory(base).tensors.values())


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=6)
    parser.add_argument("--dtype", choices=sorted(SHAPES), default="float16")
    parser.add_argument("--compute-dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--no-double-quant", action="store_true")
    parser.add_argument("--source", choices=["native", "transformers", "mxfp4"], default="native")
    parser.add_argument("--folder", type=Path, help="where to work; the default is the system's")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def measured_elsewhere(base: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What a fresh interpreter, started by a small process, says of its own loading."""
    command = [sys.executable, __file__, "--load", str(base)]
    command += ["--compute-dtype", options.compute_dtype]
    command += ["--no-double-quant"] if options.no_double_quant else []
    # A child's peak starts at what the parent held when it forked: a shell stands in between.
    done = subprocess.run(
        ["sh", "-c", 'exec "$@"', "sh", *command], check=True, capture_output=True, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def load(base: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Load and say what it took; the peak is that of the whole process."""
    dtype: torch.dtype = getattr(torch, options.compute_dtype)
    settings = Nf4Settings(double_quant=not options.no_double_quant)
    keep_freed_memory()  # As a run does before it loads.
    before = peak_bytes()
    started = time.perf_counter()
    model = load_nf4_base(read_inventory(base), dtype, "cpu", settings, DensePool())
    seconds = time.perf_counter() - started
    packed, dense = packed_bytes(model), dense_bytes(model)
    return {
        "seconds": round(seconds, 1),
        "before_mib": round(before / 2**20, 1),
        "packed_mib": round(packed / 2**20, 1),
        "dense_mib": round(dense / 2**20, 1),
        "model_bytes": packed + dense,
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """Most memory that this process has held so far."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def packed_bytes(model: CausalGraph) -> int:
    """Codes and scales of all layers in NF4."""
    layers = [module for module in model.modules() if isinstance(module, FrozenLinear)]
    weights = [layer.weight for layer in layers if isinstance(layer.weight, Nf4Weight)]
    return sum(weight.quantized.n_bytes for weight in weights)


def dense_bytes(model: CausalGraph) -> int:
    """Embeddings, head, norms and biases."""
    return sum(each.numel() * each.element_size() for each in model.parameters())


if __name__ == "__main__":
    sys.exit(main())
