"""The peer of `rows_bench.py`, run in an environment with `datasets` and `transformers`.

Loads the rows, renders the model's template and encodes the texts in batches, with a process per
core: what most people's scripts do before training, without a mask of what is learned.
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
    path, base, cores, cache = sys.argv[1:]
    tokenizer: Any = AutoTokenizer.from_pretrained(base)

    def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
        texts = [tokenizer.apply_chat_template(each, tokenize=False) for each in batch["messages"]]
        return {"input_ids": tokenizer(texts, add_special_tokens=False)["input_ids"]}

    rows = datasets.load_dataset("json", data_files=path, cache_dir=cache, split="train")
    loaded = time.perf_counter()
    encoded = rows.map(encode, batched=True, num_proc=int(cores), remove_columns=rows.column_names)
    result = {
        "rows": len(encoded),
        "ids_of_row_7": encoded[7]["input_ids"],
        "load_seconds": loaded - started,
        "seconds": time.perf_counter() - started,
    }
    sys.stdout.write(json.dumps(result) + "\n")


main()
