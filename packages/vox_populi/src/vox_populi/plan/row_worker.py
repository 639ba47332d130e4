"""A process that encodes parts of a file for `data.row_cache.crew`; run as a module."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vox_populi.data.row_cache.columns import id_type
from vox_populi.data.row_cache.crew import serve
from vox_populi.data.row_cache.part_files import PartEncoder
from vox_populi.data.row_scan import DatasetOptions, encoder_of
from vox_populi.data.training_text import TextPolicy
from vox_populi.files.plain_values import of_plain
from vox_populi.hf.hf_tokenizer import HfTokenizer
from vox_tensor.regular_file import open_regular
from vox_tensor.tokenizer import TextTokenizer, VoxTokenizer

MODULE = "vox_populi.plan.row_worker"
"""Name of this module; where it is run, its name is `__main__`."""


def part_encoder(job: Mapping[str, Any]) -> PartEncoder:
    """What a job describes."""
    tokenizer = _tokenizer(job["tokenizer"])
    policy = of_plain(TextPolicy, job["policy"])
    options = of_plain(DatasetOptions, job["options"])
    return PartEncoder(
        encoder=encoder_of(tokenizer, policy, options),
        options=options,
        files=tuple(job["files"]),
        id_code=id_type(tokenizer.vocab_size),
    )


def _tokenizer(raw: Mapping[str, Any]) -> TextTokenizer:
    if raw["kind"] == "vox":
        return VoxTokenizer.from_json(raw["definition"])
    return HfTokenizer.of_portable(raw)


def main() -> int:
    """Encode what is asked for on standard input."""
    # The process that asks decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open_regular(Path(sys.argv[1])) as file:
        job = json.load(file)
    # What a library prints must not come between the answers.
    answers = os.dup(1)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, by its name
        os.dup2(nowhere.fileno(), 1)
    with os.fdopen(answers, "w", encoding="utf-8") as file:
        serve(part_encoder(job), sys.stdin, file)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
