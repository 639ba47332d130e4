"""Pre-train `vox-nano`, the embedded base: tokenizer, then a small Llama, from library sources.

    .venv/bin/python pretrain/pretrain_vox_nano.py --out DIR [--steps N]

Writes a `save_pretrained`-shaped folder (bf16) and `loss_curve.csv`. See pretrain/README.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from muon import Muon
from nano_data import cut_windows, epoch_batches, read_sources
from safetensors.torch import save_file
from torch import Tensor, nn

from vox_populi.corpus.stdlib_split import stdlib_root
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.model.allocator import keep_freed_memory
from vox_populi.model.transformer import Transformer
from vox_populi.train.batches import pack_batches
from vox_tensor.collate import collate_window
from vox_tensor.records import EncodedRow
from vox_tensor.tokenizer import VoxTokenizer

VOCAB = 4096
WINDOW = 512
MUON_PEAK, ADAM_PEAK = 0.02, 0.004
WARMUP, DECAY_FRACTION = 30, 0.5

CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "hidden_act": "silu",
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "bos_token_id": 2,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "torch_dtype": "bfloat16",
}
GENERATION_CONFIG = {"bos_token_id": 2, "eos_token_id": [2, 4], "pad_token_id": 0}


def main() -> None:
    """Train the tokenizer and the model and write both."""
    options = parse_options()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    options.out.mkdir(parents=True, exist_ok=True)
    texts = read_sources(options.from_python)
    tokenizer = tokenizer_of(options.out, texts.train)
    heldout = cut_windows(texts.heldout, tokenizer, WINDOW)
    config = parse_model_config(CONFIG, "pretrain_vox_nano.py")
    model = initialize(Transformer(config))
    log(f"{sum(p.numel() for p in model.parameters())} parameters")
    curve = list(run(model, texts.train, heldout, tokenizer, options))
    write_model(options.out, model, config)
    with (options.out / "loss_curve.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("step", "tokens", "train_loss", "heldout_loss"), *curve])


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--from-python", type=Path, default=stdlib_root())
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--tokens-per-step", type=int, default=6144)
    parser.add_argument("--eval-every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def tokenizer_of(out: Path, texts: Sequence[str]) -> VoxTokenizer:
    """The folder's tokenizer, trained on the train side if there is none yet."""
    path = out / "tokenizer.json"
    if not path.exists():
        started = time.perf_counter()
        VoxTokenizer.train(texts, VOCAB).save(path)
        log(f"tokenizer: {time.perf_counter() - started:.0f} s")
    return VoxTokenizer.load(path)


def initialize(model: Transformer) -> Transformer:
    """Normal(0, 0.02); output projections smaller, so that the residual stream starts quiet."""
    quiet = 0.02 / math.sqrt(2 * model.config.n_layers)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            nn.init.normal_(
                parameter, std=quiet if name.endswith(("o.weight", "down.weight")) else 0.02
            )
    return model


def run(
    model: Transformer,
    texts: Sequence[str],
    heldout: Sequence[EncodedRow],
    tokenizer: VoxTokenizer,
    options: argparse.Namespace,
) -> Iterator[tuple[int, int, float, float]]:
    """Train; yields (step, tokens so far, train loss, held-out loss) at each evaluation."""
    hidden = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    muon = Muon(hidden, weight_decay=0.1)
    adam = torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.95), weight_decay=0.01)
    started, tokens, recent = time.perf_counter(), 0, []
    for step, rows in enumerate(stream(texts, tokenizer, options), start=1):
        factor = rate_factor(step - 1, options.steps)
        loss = train_step(model, rows)
        adam.param_groups[0]["lr"] = ADAM_PEAK * factor
        adam.step()
        muon.step(MUON_PEAK * factor)
        adam.zero_grad()
        muon.zero_grad()
        tokens += sum(len(row) for row in rows)
        recent.append(loss)
        if step % 20 == 0:
            speed = tokens / (time.perf_counter() - started)
            log(f"step {step} loss {sum(recent[-20:]) / 20:.4f} {speed:.0f} tok/s")
        if step % options.eval_every == 0 or step == options.steps:
            held = evaluate(model, heldout)
            log(f"step {step} held-out {held:.4f}")
            yield step, tokens, sum(recent) / len(recent), held
            recent = []
            write_model(options.out, model, model.config)


def stream(
    texts: Sequence[str], tokenizer: VoxTokenizer, options: argparse.Namespace
) -> Iterator[list[EncodedRow]]:
    """`options.steps` batches, reshuffled and cut at new places in every epoch."""
    generator = torch.Generator().manual_seed(options.seed)
    done, epoch = 0, 0
    while True:
        rows = cut_windows(texts, tokenizer, WINDOW, offset=(epoch * 197) % WINDOW)
        log(f"epoch {epoch}: {sum(len(row) for row in rows)} tokens in {len(rows)} rows")
        for batch in epoch_batches(rows, options.tokens_per_step, generator):
            yield batch
            done += 1
            if done == options.steps:
                return
        epoch += 1


def rate_factor(step: int, steps: int) -> float:
    """Warm-up, constant, then a linear decay to zero (WSD)."""
    decay = max(1, int(steps * DECAY_FRACTION))
    return min(1.0, (step + 1) / WARMUP, (steps - step) / decay)


def train_step(model: Transformer, rows: Sequence[EncodedRow]) -> float:
    """Forward and backward over a batch; returns its mean loss."""
    batch = collate_window(rows)
    loss: Tensor = model.loss_sum(batch) / batch.n_supervised
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return loss.item()


@torch.no_grad()
def evaluate(model: Transformer, rows: Sequence[EncodedRow]) -> float:
    """Mean loss per token of the held-out modules (every fourth window)."""
    total, count = 0.0, 0
    for batch in pack_batches(rows[::4], 8 * WINDOW):
        total += model.loss_sum(batch).item()
        count += batch.n_supervised
    return total / count


def write_model(out: Path, model: Transformer, config: ModelConfig) -> None:
    """Write config and bf16 weights under their Hugging Face names."""
    state = model.state_dict()
    tensors = {
        key.theirs: state[key.ours].to(torch.bfloat16).contiguous()
        for key in tensor_keys(config)
        if key.ours != "lm_head.weight"
    }
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    for name, content in (("config", CONFIG), ("generation_config", GENERATION_CONFIG)):
        text = json.dumps(content, indent=2) + "\n"
        (out / f"{name}.json").write_text(text, encoding="utf-8")


def log(message: str) -> None:
    """One line of progress."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
