"""Load a synthetic sharded base for QLoRA in a fresh process: does its peak memory stay in bounds?

    .venv/bin/python bench/nf4_load_rss.py [--gigabytes 6] [--dtype float16] [--source transformers]

Allowed are the quantised model, three times the largest tensor of the base and 512 MiB for the
interpreter and torch. With `--source transformers` the base is a GLM-4, which has no native code.
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

from vox_populi.hf.inventory import read_inventory
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.nf4_load import load_nf4_base
from vox_populi.train.allocator import keep_freed_memory
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


def main() -> int:
    """Make the base, load it in another process, compare."""
    options = parse_options()
    if options.load is not None:
        sys.stdout.write(json.dumps(load(options.load, options)) + "\n")
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        base = Path(scratch) / "base"
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


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=6)
    parser.add_argument("--dtype", choices=sorted(SHAPES), default="float16")
    parser.add_argument("--compute-dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--no-double-quant", action="store_true")
    parser.add_argument("--source", choices=["native", "transformers"], default="native")
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
