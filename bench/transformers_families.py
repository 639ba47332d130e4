"""The packing proof of many classes of transformers, as the table of the page on them.

    .venv/bin/python bench/transformers_families.py [MODEL_TYPE ...]

Each class is built from the default config of its type in the sizes of a toy, with random weights.
It needs no weights, no network and about 0.3 s a class.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING

from vox_populi.errors import ModelError
from vox_populi.model.packing_proof import Differences, measure_packing
from vox_populi.plan.packing_proof_facts import TOLERANCE

FAMILIES = (
    "afmoe", "apertus", "arcee", "bamba", "bitnet", "cohere", "cohere2", "cwm", "deepseek_v3",
    "diffllama", "ernie4_5", "exaone4", "falcon", "falcon_h1", "gemma", "gemma2",
    "gemma3_text", "gemma4_text", "glm", "glm4", "glm4_moe", "gpt2", "gpt_neo", "gpt_neox",
    "gpt_oss", "gptj", "granite", "granitemoehybrid", "helium", "hyperclovax", "jamba",
    "lfm2", "llama", "llama4_text", "minicpm3", "ministral3", "mistral", "mixtral", "mpt",
    "nanochat", "nemotron_h", "olmo", "olmo2", "olmo3", "opt", "persimmon", "phi", "phi3",
    "phimoe", "qwen2", "qwen3", "qwen3_5_text", "qwen3_moe", "qwen3_next", "seed_oss",
    "smollm3", "stablelm", "starcoder2", "vaultgemma", "youtu",
)  # fmt: skip


def main(names: Sequence[str]) -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    _line("| Model type | Rows | Alone | Packed | Gradients |")
    _line("|---|---|---|---|---|")
    started = time.monotonic()
    for name in names or FAMILIES:
        _line("| " + " | ".join(_cells(name)) + " |")
    seconds = time.monotonic() - started
    _line(f"\ntransformers {transformers.__version__}, torch {torch.__version__}, {seconds:.0f} s")


def _line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _cells(name: str) -> Iterator[str]:
    yield f"`{name}`"
    try:
        config: Any = CONFIG_MAPPING[name]
        found = measure_packing(config().to_dict(), name)
    except ModelError as error:
        yield from (_reason(error.problems[0].what), "", "", "")
        return
    yield _verdict(found)
    yield f"{found.alone:.0e}"
    yield from ("", "") if found.refused else (f"{found.packed:.0e}", f"{found.gradients:.0e}")


def _verdict(found: Differences) -> str:
    if not found.alone <= TOLERANCE:
        return "refused: other logits"
    if found.refused:
        return "one at a time: the class refuses"
    leaks = max(found.packed, found.gradients) > TOLERANCE
    return "one at a time: they leak" if leaks else "packed"


def _reason(what: str) -> str:
    return f"refused: {what.partition(': ')[2].rstrip('.').replace('|', '/')[:90]}"


if __name__ == "__main__":
    main(sys.argv[1:])
