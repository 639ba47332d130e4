"""Which base fits on which card, from the planner and the shapes of published models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from vox_populi.containers.dtypes import BYTES_OF_VALUE
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.contract.choices import ActivationMemoryChoice, Backend, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import DenseCopiesChoice
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.plan.device_choice import MachineFacts
from vox_populi.plan.execution_planner import DataFacts, ExecutionPlan, plan_execution
from vox_populi.plan.graph_choice import choose_graph

PAGE = "docs/src/reference/what-fits.md"
SHORT_WINDOW = 1024
"""Tokens of the window that README's table is about."""

FILE = "model.safetensors"
GIB = 2**30
CARDS = (8, 24, 80)
RESERVED_GIB = 1
"""For the driver's context and the screen."""
WINDOWS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
METHODS = {"LoRA, bf16": Backend.LORA, "QLoRA, NF4": Backend.QLORA}


@dataclass(frozen=True, slots=True)
class Shape:
    """What the config of a published model says."""

    name: str
    family: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    vocabulary: int
    is_tied: bool

    def inventory(self) -> ModelInventory:
        """Its folder as the planner sees one."""
        raw = {
            "model_type": self.family,
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": 128,
            "intermediate_size": self.mlp,
            "max_position_embeddings": WINDOWS[-1],
            "tie_word_embeddings": self.is_tied,
            "torch_dtype": "bfloat16",
            "eos_token_id": 2,
        }
        config = parse_model_config(raw, self.name)
        tensors = {
            key.theirs: TensorInfo(key.theirs, "BF16", key.our_shape, FILE, 0, 0)
            for key in tensor_keys(config)
        }
        values = sum(prod(info.shape) for info in tensors.values())
        return ModelInventory(
            model_dir=Path(self.name),
            config=config,
            tensors=tensors,
            shards=(FILE,),
            total_bytes=values * BYTES_OF_VALUE["bfloat16"],
            tied_head=self.is_tied,
        )


SHAPES = (
    Shape("Qwen3-0.6B", "qwen3", 1024, 28, 16, 8, 3072, 151_936, is_tied=True),
    Shape("Qwen3-1.7B", "qwen3", 2048, 28, 16, 8, 6144, 151_936, is_tied=True),
    Shape("Qwen3-4B", "qwen3", 2560, 36, 32, 8, 9728, 151_936, is_tied=True),
    Shape("Qwen3-8B", "qwen3", 4096, 36, 32, 8, 12_288, 151_936, is_tied=False),
    Shape("Qwen3-14B", "qwen3", 5120, 40, 40, 8, 17_408, 151_936, is_tied=False),
    Shape("Qwen3-32B", "qwen3", 5120, 64, 64, 8, 25_600, 151_936, is_tied=False),
    Shape("Llama-3.1-70B", "llama", 8192, 80, 64, 8, 28_672, 128_256, is_tied=False),
)


def plan_of(
    inventory: ModelInventory,
    backend: Backend,
    tokens: int,
    card: int,
    memory: ActivationMemoryChoice = ActivationMemoryChoice.NONE,
) -> ExecutionPlan:
    """The plan of a run with one window of so many tokens on a card of so many GiB."""
    contract = FinetuneContract.of(
        data_dir=Path("data"),
        output_dir=Path("run"),
        model_dir=inventory.model_dir,
        backend=backend,
        tokenizer=TokenizerKind.HF,
        **({"dense_copies": DenseCopiesChoice.NONE} if backend is Backend.QLORA else {}),
        seq_len=tokens,
        batch_size=1,
        activation_memory=memory,
    )
    machine = MachineFacts(
        n_cpus=8,
        has_cuda=True,
        has_bf16=True,
        device_memory_bytes=(card - RESERVED_GIB) * GIB,
    )
    data = DataFacts(n_train_rows=1000, n_valid_rows=50, longest_row=tokens)
    return plan_execution(contract, inventory, choose_graph(contract, inventory), data, machine)


_TEXT = """\
# What fits in 8, 24 and 80 GB

These are the planner's estimates, the same that `vox mens train --dry-run` prints and that stop a
run before any weight is read. Nothing here was measured on such a card. The settings are the
defaults (rank 16 on all linear layers, AdamW) with `--batch-size 1`, on CUDA in bf16; QLoRA with
`--nf4-cache none`, which keeps one dense matrix at a time. Of a card, {reserved} GiB is left to the
driver and the screen.

A window is what one forward pass computes: `--batch-size` times `--seq-len` tokens. The sizes are
those of a step that keeps all its activations. The last three columns have the longest window, up
to 32,768 tokens, that the planner lets through: first as it is, and after a slash with activations
that are computed again, which it chooses where it must ([long rows](../howto/long-rows.md)); `-` is
refused even with 256.

{table}

`vox mens train --model FOLDER --dry-run` lists every term for your model, rows and machine
([read a dry run](../howto/read-a-dry-run.md)); `--dry-run=step` tries one step and shows the peak
beside the estimate.
"""


def memory_page() -> str:
    """The page: memory of each base and method, and the longest window on each card."""
    table = "\n".join(_table(WINDOWS[0], SHORT_WINDOW, 4096))
    return _TEXT.format(reserved=RESERVED_GIB, table=table)


def short_table() -> Iterator[str]:
    """The methods with which each base fits on each card, with a window of 1,024 tokens."""
    yield f"| Base | {' | '.join(f'{card} GB' for card in CARDS)} |"
    yield f"|---|{'---|' * len(CARDS)}"
    for shape in SHAPES:
        inventory = shape.inventory()
        cells = (_methods(inventory, card) for card in CARDS)
        yield f"| {shape.name} | {' | '.join(cells)} |"


def _methods(inventory: ModelInventory, card: int) -> str:
    fitting = [
        title.partition(",")[0]
        for title, backend in METHODS.items()
        if plan_of(inventory, backend, SHORT_WINDOW, card).fits
    ]
    return ", ".join(fitting) or "-"


def _table(*tokens: int) -> Iterator[str]:
    needs = " | ".join(f"{count:,} tokens" for count in tokens)
    cards = " | ".join(f"{card} GB" for card in CARDS)
    yield f"| Base | Method | {needs} | {cards} |"
    yield f"|---|---|{'---|' * (len(tokens) + len(CARDS))}"
    for shape in SHAPES:
        inventory = shape.inventory()
        for title, backend in METHODS.items():
            plans = [plan_of(inventory, backend, count, 1000) for count in tokens]
            sizes = [f"{plan.memory.total / GIB:.1f} GiB" for plan in plans]
            longest = [_longest(inventory, backend, card) for card in CARDS]
            yield f"| {shape.name} | {title} | {' | '.join([*sizes, *longest])} |"


def _longest(inventory: ModelInventory, backend: Backend, card: int) -> str:
    """The longest window with all activations, and if it is longer, the one with fewer."""
    found = []
    for memory in (ActivationMemoryChoice.NONE, ActivationMemoryChoice.AUTO):
        plans = (plan_of(inventory, backend, count, card, memory) for count in WINDOWS)
        fitting = [plan.batching.window_tokens for plan in plans if plan.fits]
        found.append(f"{max(fitting):,}" if fitting else "-")
    return " / ".join(dict.fromkeys(found))
