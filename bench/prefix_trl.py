"""The peer of `prefix_bench.py`, run in an environment with `trl`, `peft` and `datasets`.

One epoch over the rows with TRL's packing, a pack per step: the same layers, rank and rate as ours.
The time is that of the training steps after the first, which warms up.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import torch
import trl
from peft import LoraConfig
from transformers import TrainerCallback


class Clock(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        self.seconds.append(time.perf_counter() - self.started)


def main() -> None:
    """Print rows, tokens and seconds as JSON."""
    base, path, folder, width, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    with Path(path).open(encoding="utf-8") as file:
        rows = json.load(file)
    clock = Clock()
    settings = trl.SFTConfig(
        output_dir=folder + "/trl",
        packing=True,
        max_length=int(width),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        num_train_epochs=1,
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        completion_only_loss=True,
        model_init_kwargs={"dtype": "float32"},
    )
    lora: Any = LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainer: Any = trl.SFTTrainer(
        model=base,
        args=settings,
        train_dataset=datasets.Dataset.from_dict(rows),
        peft_config=lora,
        callbacks=[clock],
    )
    trainer.train()
    losses = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    tokens = len(rows["input_ids"]) * int(width)
    n_steps = len(clock.seconds)
    later = clock.seconds[1:] or clock.seconds
    result = {
        "trl": trl.__version__,
        "rows": len(rows["input_ids"]),
        "tokens": tokens,
        "seconds": sum(later) * n_steps / len(later),
        "loss": sum(losses) / len(losses),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    sys.stdout.write(json.dumps(result) + "\n")


main()
