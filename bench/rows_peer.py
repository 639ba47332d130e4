"""The peer of `rows_bench.py`, run in an environment with `datasets` and `transformers`.

Loads the rows, renders the model's template and encodes the texts in batches, with a process per
core: what most people's scripts do before training, without a mask of what is learned. With the
word `masked` as its last argument it also learns which tokens are the last answer's, as TRL does
for rows of prompt and completion: the prompt is rendered and encoded by itself too.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import datasets
from transformers import AutoTokenizer


def main() -> None:
    """Print rows, tokens and seconds as JSON."""
    started = time.perf_counter()
    path, base, cores, cache, *mode = sys.argv[1:]
    tokenizer: Any = AutoTokenizer.from_pretrained(base)

    def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
        texts = [tokenizer.apply_chat_template(each, tokenize=False) for each in batch["messages"]]
        return {"input_ids": tokenizer(texts, add_special_tokens=False)["input_ids"]}

    def encode_masked(batch: dict[str, list[Any]]) -> dict[str, Any]:
        made = encode(batch)
        prompts = [
            tokenizer.apply_chat_template(each[:-1], tokenize=False, add_generation_prompt=True)
            for each in batch["messages"]
        ]
        starts = map(len, tokenizer(prompts, add_special_tokens=False)["input_ids"])
        made["completion_mask"] = [
            [0] * start + [1] * (len(ids) - start)
            for start, ids in zip(starts, made["input_ids"], strict=True)
        ]
        return made

    rows = datasets.load_dataset("json", data_files=path, cache_dir=cache, split="train")
    loaded = time.perf_counter()
    encoded = rows.map(
        encode_masked if "masked" in mode else encode,
        batched=True,
        num_proc=int(cores),
        remove_columns=rows.column_names,
    )
    result = {
        "rows": len(encoded),
        "ids_of_row_7": encoded[7]["input_ids"],
        "load_seconds": loaded - started,
        "seconds": time.perf_counter() - started,
    }
    sys.stdout.write(json.dumps(result) + "\n")


main()
