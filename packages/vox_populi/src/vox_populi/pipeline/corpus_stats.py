"""Counting a corpus, in tokens of a base if one is passed. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vox_populi.contract.choices import TokenizerKind
from vox_populi.corpus.stats import StatsReport, TokenCounter, corpus_stats
from vox_populi.data.supervision import encode_record
from vox_populi.data.training_text import TextPolicy
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.hub_name import folder_name
from vox_populi.plan.template_choice import choose_template
from vox_populi.plan.tokenizer_choice import choose_tokenizer
from vox_tensor.records import TrainingRecord


def count_corpus(
    files: Sequence[Path],
    model_dir: Path | None = None,
    tokenizer: TokenizerKind | None = None,
) -> StatsReport:
    """Count the rows of files; tokens are counted as trained if a base or tokenizer is passed.

    Args:
        files: Files of rows.
        model_dir: Base folder; `None` for the embedded base.
        tokenizer: Vocabulary; `None` for `hf` with a base folder.

    Raises:
        DataError: When a file cannot be read.
        ModelError: For a folder without a usable tokenizer.
    """
    if model_dir is None and tokenizer is None:
        return corpus_stats(files)
    kind = tokenizer or TokenizerKind.HF
    name = EMBEDDED_NAME if model_dir is None else folder_name(model_dir)
    return corpus_stats(files, _token_counter(model_dir, kind), name)


def _token_counter(model_dir: Path | None, kind: TokenizerKind) -> TokenCounter:
    """The number of tokens of a whole row, with its markup."""
    tokenizer = choose_tokenizer(kind, model_dir).tokenizer
    policy, _ = choose_template(TextPolicy(), model_dir, tokenizer)

    def count(record: TrainingRecord, where: str) -> int:
        return len(encode_record(record, tokenizer, policy, where=where))

    return count
