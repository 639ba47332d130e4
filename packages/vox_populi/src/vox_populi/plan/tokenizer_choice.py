"""Which tokenizer turns text into ids, from the request and the model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vox_populi import operator_messages as say
from vox_populi.contract.finetune_contract import TokenizerKind
from vox_populi.errors import DataError
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.hf_tokenizer import HfTokenizer
from vox_tensor.tokenizer import TextTokenizer, VoxTokenizer

TOKENIZER_NAME = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class TokenizerChoice:
    """A tokenizer and the file it came from."""

    tokenizer: TextTokenizer
    path: Path
    notes: tuple[str, ...] = ()


def choose_tokenizer(kind: TokenizerKind, model_dir: Path | None) -> TokenizerChoice:
    """Load the tokenizer that a request means.

    `hf` is the folder's own file. `vox` is the folder's file where that is `VoxTokenizer`'s,
    else the vocabulary of the embedded base, with a note: the base never saw it.

    Args:
        kind: Who makes ids.
        model_dir: Base model folder; `None` for the embedded base.

    Raises:
        DataError: When the file is missing or is no such tokenizer.
        ModelError: For a `tokenizer.json` that the library does not accept.
        MissingExtraError: For `hf` without the module `tokenizers`.
    """
    embedded = embedded_model_dir() / TOKENIZER_NAME
    path = embedded if model_dir is None else model_dir / TOKENIZER_NAME
    if kind is TokenizerKind.HF:
        return TokenizerChoice(HfTokenizer.load(path), path)
    try:
        return TokenizerChoice(VoxTokenizer.load(path), path)
    except DataError:
        if model_dir is None:
            raise
    return TokenizerChoice(
        VoxTokenizer.load(embedded), embedded, (say.note_vocabulary_new_to_base(),)
    )
