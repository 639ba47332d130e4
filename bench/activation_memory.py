"""Peak memory of one step by what the blocks keep, beside the planner's estimate.

    .venv/bin/python bench/activation_memory.py [--tokens 8192] [--rows 4] [--layers 30] [--keep]

Every mode has a process of its own: the shape of SmolLM2-135M with random weights in f32, LoRA of
rank 16 on all linear layers, AdamW, one window of `--tokens` tokens in `--rows` rows, half of each
learned. The gradients of all modes are compared byte for byte. A table goes to stdout; exit code 1
if gradients differ or a peak is above its estimate. With `--keep`, freed memory stays in the
process, as in runs that have plenty of it; without, it is returned, as where memory is short.

With `--class` a class of transformers computes, of that type and about those sizes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from typing import Any

import torch
from nf4_load_rss import peak_bytes
from torch import nn

from vox_populi import extras
from vox_populi.contract.choices import ActivationMemoryChoice
from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.keymap import adapter_modules, tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.activation_memory import ActivationMemory, Activations
from vox_populi.model.allocator import keep_freed_memory, return_freed_memory
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.kept_values import count_kept
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_populi.model.transformers_graph import TransformersGraph
from vox_populi.plan.class_memory import class_memory
from vox_populi.plan.memory_estimate import WorkingSet, estimate_memory
from vox_populi.train.gradients import clip_gradients
from vox_populi.train.optimizers.registry import build_optimizer
from vox_tensor.collate import collate_window
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow

SMOLLM2_135M = {
    "model_type": "llama",
    "vocab_size": 49_152,
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "max_position_embeddings": 131_072,
    "tie_word_embeddings": True,
    "eos_token_id": 2,
}


def main() -> int:
    """Measure every mode, write the table."""
    options = parse_options()
    if options.mode is not None:
        sys.stdout.write(json.dumps(measure(options)) + "\n")
        return 0
    modes = options.modes.split(",")
    found = {mode: measured_elsewhere(mode, options) for mode in modes}
    lines = [
        "| activation memory | peak GiB | estimate GiB | of estimate | step s | time |",
        "|---|---|---|---|---|---|",
    ]
    first = found[modes[0]]
    for mode, run in found.items():
        peak, estimate = run["peak_bytes"], run["estimate_bytes"]
        lines.append(
            f"| {mode} | {peak / 2**30:.2f} | {estimate / 2**30:.2f} | {peak / estimate:.2f}"
            f" | {run['seconds']:.1f} | {run['seconds'] / first['seconds']:.2f} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    is_equal = len({run["digest"] for run in found.values()}) == 1
    within = all(run["peak_bytes"] <= run["estimate_bytes"] for run in found.values())
    sys.stdout.write(f"gradients equal: {is_equal}; within the estimates: {within}\n")
    return 0 if is_equal and within else 1


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--layers", type=int, default=SMOLLM2_135M["num_hidden_layers"])
    parser.add_argument("--class", dest="type", default="", metavar="MODEL_TYPE")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--modes", default=",".join(ActivationMemory))
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    return parser.parse_args()


def measured_elsewhere(mode: str, options: argparse.Namespace) -> dict[str, Any]:
    """One mode in a fresh interpreter."""
    command = [sys.executable, __file__, "--mode", mode]
    for name in ("tokens", "rows", "layers", "dropout", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    command += ["--class", options.type] if options.type else []
    command += ["--keep"] if options.keep else []
    # A child's peak starts at what the parent held when it forked: a shell stands in between.
    done = subprocess.run(
        ["sh", "-c", 'exec "$@"', "sh", *command], check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    sys.stderr.write(f"{mode}: {result['seconds']:.1f} s, {result['peak_bytes'] / 2**30:.2f} GiB\n")
    return result


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One step, its peak and its estimate."""
    (keep_freed_memory if options.keep else return_freed_memory)()
    torch.set_num_threads(options.threads)
    spec = LoraSpec(rank=16, alpha=32.0, dropout=options.dropout)
    raw = config_of(options)
    source = GraphSource.TRANSFORMERS if options.type else GraphSource.NATIVE
    config = parse_model_config(raw, "bench", source)
    model = foreign_model(config, raw) if options.type else native_model(config)
    objective = objective_of(model, spec, ActivationMemory(options.mode))
    optimizer = build_optimizer(OptimizationSettings(), objective.parameters())
    objective.set_training(active=True)
    batch = collate_window(long_rows(options.tokens, options.rows, config.vocab_size))
    started = time.perf_counter()
    loss = objective.loss_sum(batch) / batch.targets_P.shape[0]
    loss.backward()
    digest = digest_of_gradients(objective)
    clip_gradients(tuple(objective.parameters().values()), 1.0)
    optimizer.step(2e-4)
    work = WorkingSet(options.tokens, "float32", "cpu", ActivationMemoryChoice(options.mode))
    layers = linear_layers(config)
    memory = estimate_memory(config, layers, spec, work)
    if options.type:
        kept = count_kept(raw, "bench", "float32", options.tokens // options.rows)
        memory = class_memory(memory, config, layers if spec.dropout else (), work, kept)
    return {
        "seconds": time.perf_counter() - started,
        "loss": loss.item(),
        "digest": digest,
        "peak_bytes": peak_bytes(),
        "estimate_bytes": memory.total,
    }


def linear_layers(config: ModelConfig) -> list[Any]:
    """Every linear layer of the blocks."""
    return [module for module in adapter_modules(config) if module.ours.startswith("blocks.")]


def config_of(options: argparse.Namespace) -> dict[str, Any]:
    """The `config.json` of the model: SmolLM2-135M, or a type with its sizes."""
    raw = {**SMOLLM2_135M, "num_hidden_layers": options.layers}
    if not options.type:
        return raw
    own: dict[str, Any] = extras.load("transformers").CONFIG_MAPPING[options.type]().to_dict()
    changes = {**raw, "head_dim": 64, "model_type": options.type, "pad_token_id": 0}
    for name in ("num_experts", "num_local_experts", "n_routed_experts"):
        if name in own:
            changes[name] = 8
    kinds = own.get("layer_types")
    if kinds:
        changes["layer_types"] = (kinds * options.layers)[: options.layers]
    return own | changes


def native_model(config: ModelConfig) -> Transformer:
    """A base of random weights."""
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model = Transformer(config)
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.02, generator=draws)
    return model


def foreign_model(config: ModelConfig, raw: dict[str, Any]) -> TransformersGraph:
    """The same of a class of transformers."""
    draws = torch.Generator().manual_seed(0)
    model = TransformersGraph(config, raw, torch.float32)
    state = {}
    for key in tensor_keys(config):
        if key.required:
            values = torch.empty(key.our_shape).normal_(std=0.02, generator=draws)
            state[key.ours] = values if values.ndim > 1 else values + 1
    model.fill(state)
    model.packs = packs_rows(raw)
    model.requires_grad_(requires_grad=False)
    return model


def packs_rows(raw: dict[str, Any]) -> bool:
    """Whether rows are packed: not in hybrids."""
    return "linear_attention" not in (raw.get("layer_types") or ())


def objective_of(
    model: CausalGraph, spec: LoraSpec, memory: ActivationMemory
) -> AdaptedObjective[CausalGraph]:
    """A base with adapters that are not zero."""
    draws = torch.Generator().manual_seed(0)
    adapted = attach_adapters(model, linear_layers(model.config), spec, draws, draws)
    for layer in adapted.values():
        nn.init.normal_(layer.b_OR, std=0.02, generator=draws)
    model.activations = Activations(memory, (draws,))
    return AdaptedObjective(model, adapted)


def long_rows(tokens: int, rows: int, vocab: int) -> list[EncodedRow]:
    """Equally long rows of random ids, the second half of each learned."""
    length = tokens // rows
    draws = torch.Generator().manual_seed(1)
    ids = torch.randint(vocab, (rows, length), generator=draws).tolist()
    prompt = [IGNORE_INDEX] * (length // 2)
    return [EncodedRow(tuple(row), tuple(prompt + row[len(prompt) :])) for row in ids]


def digest_of_gradients(objective: AdaptedObjective[CausalGraph]) -> str:
    """SHA-256 over the bytes of all gradients."""
    digest = hashlib.sha256()
    for parameter in objective.parameters().values():
        assert parameter.grad is not None
        digest.update(parameter.grad.numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
