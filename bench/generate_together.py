"""Greedy answers to several prompts: computed together, and one at a time.

    .venv/bin/python bench/generate_together.py MODEL [--prompts 12] [--tokens 40] [--threads 1]

MODEL is a folder with weights and a tokenizer. Prints seconds of CPU and of the clock for both, and
how many answers are equal; exit code 1 if one is not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from vox_populi.contract.choices import TokenizerKind
from vox_populi.hf.inventory import read_inventory
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.generate import Generated, generate_ids
from vox_populi.infer.generate_many import AskedText, generate_many
from vox_populi.model.hf_load import load_base
from vox_populi.plan.tokenizer_choice import choose_tokenizer
from vox_tensor.tokenizer import TextTokenizer

TOPICS = (
    *("cats", "the sea", "Rome", "integers", "bread", "rain in spring", "a poem about iron"),
    *("sorting a list", "the moon", "tea", "what a compiler does", "trees", "the violin"),
    *("chess openings", "maps", "snow", "honey", "glass", "wool", "salt"),
)


def main() -> int:
    """Compute both, compare."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    inventory = read_inventory(options.model)
    tokenizer = choose_tokenizer(TokenizerKind.HF, options.model, inventory.config.eos_ids)
    asked = prompts(tokenizer.tokenizer, options.prompts, options.tokens)
    model = load_base(inventory, torch.float32, "cpu").eval()
    stops = frozenset(inventory.config.eos_ids)
    n_alone = 0
    cached = CachedModel(model)

    def alone(each: AskedText) -> Generated:
        nonlocal n_alone
        n_alone += 1
        return generate_ids(
            cached,
            each.prompt_ids,
            max_new_tokens=each.max_new_tokens,
            stop_ids=stops,
            sampling=each.sampling,
        )

    together = timed("together", lambda: list(generate_many(model, asked, alone, stops)))
    sys.stdout.write(f"of these computed alone: {n_alone}\n")
    apart = timed("one at a time", lambda: [alone(each) for each in asked])
    n_equal = sum(a == b for a, b in zip(together, apart, strict=True))
    n_tokens = sum(len(each.ids) for each in apart)
    sys.stdout.write(f"equal answers: {n_equal} of {len(asked)}, {n_tokens} tokens\n")
    return 0 if n_equal == len(asked) else 1


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def prompts(tokenizer: TextTokenizer, count: int, tokens: int) -> list[AskedText]:
    """Questions with the same system prompt."""
    asked = []
    for number in range(count):
        topic = TOPICS[number % len(TOPICS)] + " again" * (number // len(TOPICS))
        ids = tokenizer.encode(
            f"system\nYou are a helpful assistant.\nuser\nTell me about {topic}.\nassistant\n"
        )
        asked.append(AskedText(prompt_ids=ids, max_new_tokens=tokens))
    return asked


def timed(name: str, compute: Callable[[], list[Generated]]) -> list[Generated]:
    """What was computed; prints what it took."""
    started, cpu = time.perf_counter(), time.process_time()
    made = compute()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    sys.stdout.write(f"{name}: {cpu:.1f} s of CPU, {seconds:.1f} s\n")
    return made


if __name__ == "__main__":
    sys.exit(main())
