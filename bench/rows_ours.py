"""Our side of `rows_bench.py`: opens a file of rows as `vox mens train` does."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.dataset import (
    DatasetOptions,
    OnBadRow,
    RowCache,
    open_dataset,
    split_validation,
)
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.plan.row_worker import MODULE
from vox_populi.plan.template_choice import choose_template
from vox_populi.plan.tokenizer_choice import choose_tokenizer


def main() -> None:
    """Print rows, tokens and seconds as JSON."""
    started = time.perf_counter()
    path, base, cores, cache = sys.argv[1:]
    tokenizer = choose_tokenizer(TokenizerKind.HF, Path(base)).tokenizer
    asked = TextPolicy(template=ChatTemplate.MODEL)
    policy = choose_template(asked, Path(base), tokenizer)[0]
    kept = RowCache(folder=Path(cache), workers=int(cores), module=MODULE, least_bytes=0)
    options = DatasetOptions(on_bad_row=OnBadRow.SKIP)
    rows = open_dataset(open_rows(Path(path)), tokenizer, policy, options, kept)
    train, valid = (rows.select(each) for each in split_validation(len(rows), 0.05, 42))
    result = {
        "rows": len(rows),
        "ids_of_row_7": list(rows[7].ids),
        "tokens": train.n_tokens + valid.n_tokens,
        "supervised": train.n_supervised + valid.n_supervised,
        "seconds": time.perf_counter() - started,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
