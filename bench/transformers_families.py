"""Every family through its class in transformers, as the table of the page on them.

    PYTHONPATH=. .venv/bin/python bench/transformers_families.py [--found FILE] [MODEL_TYPE ...]
    PYTHONPATH=. .venv/bin/python bench/transformers_families.py --found FILE --page

Each class is built from the default config of its type in the sizes of a toy, with random weights,
written to a folder as published ones are, and taken through `bench/family_trial.py`. It needs no
weights, no network and 2 to 10 s a class. What was found is added to FILE, a JSON object a line;
`--page` writes the rows of `docs/src/reference/transformers-families.md` that it has, and what
`vox mens models` lists of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from family_trial import Trial, try_family

from tests_integration.foreign_nested import VISION

_HYBRID = {"layer_types": ["conv", "full_attention", "conv", "full_attention"]}
_PLAIN = (
    "afmoe", "apertus", "arcee", "bitnet", "bloom", "codegen", "cohere",
    "cohere2", "cohere2_moe", "ctrl", "cwm", "deepseek_v3", "diffllama", "ernie4_5",
    "ernie4_5_moe", "exaone4", "falcon", "falcon_h1", "falcon_mamba", "flex_olmo", "gemma",
    "gemma2", "gemma3_text", "glm", "glm4", "glm4_moe",
    "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_oss", "gptj", "granite",
    "granitemoe", "helium", "hyperclovax", "internlm3",
    "kimi_linear", "llama", "llama4_text", "mamba", "minicpm3", "minimax_m2",
    "ministral3", "mistral", "mixtral", "mpt", "nanochat", "nemotron_h", "olmo", "olmo2",
    "olmo3", "olmoe", "opt", "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe",
    "qwen3", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_moe", "qwen3_next",
    "recurrent_gemma", "seed_oss", "smollm3", "stablelm", "starcoder2", "vaultgemma",
    "xglm", "youtu", "zaya",
)  # fmt: skip
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    **{name: {} for name in (*_PLAIN, *VISION)},
    # What the defaults of these leave out, and published folders have.
    "deepseek_v2": {"num_experts_per_tok": 2, "n_routed_experts": 4},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "lfm2": _HYBRID,
    "lfm2_moe": _HYBRID,
    "ministral": {"head_dim": 16},
    "bamba": {"attn_layer_indices": [1]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention", "mamba", "attention"]},
    "nemotron": {"num_key_value_heads": 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "gemma4_text": {"vocab_size_per_layer_input": 320},
    "gemma3n_text": {"vocab_size_per_layer_input": 320},
}
_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs" / "src" / "reference" / "transformers-families.md"
LISTED = _ROOT / "packages/vox_populi/src/vox_populi/hf/tried_families.json"
_TITLE = """# Families through transformers

<!-- Written by bench/transformers_families.py --page; do not edit. -->

What was found of classes in transformers {version} on toys with random weights, in float32 on
a CPU. Each toy is written as published folders are, read, proven, trained with both backends,
merged and exported; see [how that is used](../howto/transformers-graph.md). Numbers are the
largest difference, relative to the largest value:

- *Packed*: logits and adapter gradients of packed rows, from those of the rows alone. Where it
  is a leak, each row is computed alone; where it is empty, the class refuses packed rows.
- *Gradients*: of every adapter, from PEFT's on the same weights, each row alone there.
- *LoRA merge*: logits of the merged folder in transformers, from PEFT's with the exported
  adapter.
  Recurrent layers amplify rounding: of `qwen3_5_text` every merged value is within 4e-7 of
  `W + B @ A` in float64, and this rounding alone moves logits by 2e-5, PEFT's own by 1e-5.
- *PEFT*: whether PEFT loads every value of the exported adapter; adapters of experts are stacked.
- *Frozen*: what carries no adapter, as a share of the values in the blocks. Where it does not say
  "experts", every expert of a mixture is [trained](../howto/transformers-graph.md#experts); its
  gradients are those of the class itself with `B @ A` added to its weights.

A type with an encoder of images around its text model is compared with the whole class on text
alone; its merged folder loads there with every other tensor as it was.

{n_trained} of {n} model types are trained, {n_packed} of them with packed rows.

| Model type | Rows | Packed | Gradients | LoRA merge | PEFT | QLoRA | Frozen |
|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Try families, or write the page."""
    parser = argparse.ArgumentParser(description="Families through transformers.")
    parser.add_argument("names", nargs="*", metavar="MODEL_TYPE")
    parser.add_argument("--found", type=Path, metavar="FILE")
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args()
    if asked.page:
        _write_page(asked.found)
        return
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    for name in asked.names or sorted(FAMILIES):
        with tempfile.TemporaryDirectory() as folder:
            trial = _tried(name, Path(folder))
        line = json.dumps(asdict(trial))
        if asked.found is not None:
            with asked.found.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        sys.stdout.write(f"{_cells(trial)} {'; '.join(trial.failures)[:300]}\n")
        sys.stdout.flush()


def _tried(name: str, folder: Path) -> Trial:
    try:
        return try_family(name, FAMILIES.get(name, {}), folder)
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError, AssertionError) as e:
        trial = Trial(name, rows="fails")
        trial.failures.append(f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}")
        return trial


def _cells(trial: Trial) -> str:
    cells = (
        f"`{trial.model_type}`", trial.rows, _number(trial.packed), _number(trial.gradients),
        _number(trial.merge), trial.peft, trial.qlora, trial.frozen,
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}"


def _write_page(found: Path) -> None:
    lines = found.read_text("utf-8").splitlines()
    trials = {each["model_type"]: Trial(**each) for each in map(json.loads, lines)}
    rows = _rows_of_page() | {name: _cells(each) for name, each in trials.items()}
    # Nothing is trained of a type whose row ends before what was learned.
    trained = [row for row in rows.values() if any(cell.strip() for cell in row.split("|")[6:8])]
    title = _TITLE.format(
        version=transformers.__version__,
        n=len(rows),
        n_trained=len(trained),
        n_packed=sum(row.split("|")[2].strip() == "packed" for row in trained),
    )
    PAGE.write_text(title + "".join(f"{rows[name]}\n" for name in sorted(rows)), encoding="utf-8")
    before = {each["model_type"]: each for each in json.loads(LISTED.read_text("utf-8"))}
    known = before | {name: _listed(each) for name, each in trials.items()}
    listed = ",\n".join(json.dumps(known[name]) for name in sorted(known))
    LISTED.write_text(f"[\n{listed}\n]\n", encoding="utf-8")


def _rows_of_page() -> dict[str, str]:
    """The rows that the page has; those of types that were not tried again stay."""
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    return {row.split("`")[1]: row for row in rows}


def _listed(trial: Trial) -> dict[str, Any]:
    """What `vox mens models` says of a trial."""
    rows, _, why = trial.rows.rstrip(")").replace(" (", ": ").partition(": ")
    claims = {
        "logits": rows == "packed",
        "gradients": trial.gradients is not None,
        "lora": trial.merge is not None,
        "qlora": bool(trial.qlora),
        "merge": trial.merge is not None,
        "peft": trial.peft == "loads strictly",
    }
    return {
        "model_type": trial.model_type,
        "class_name": trial.class_name,
        "rows": rows,
        "leak": float(_number(trial.packed)) if rows == "one at a time" and trial.packed else None,
        "why": why,
        "proven": [claim for claim, is_proven in claims.items() if is_proven],
    }


if __name__ == "__main__":
    main()
