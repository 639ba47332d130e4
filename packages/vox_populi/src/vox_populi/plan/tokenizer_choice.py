"""Which tokenizer turns text into ids, from the request and the model folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.contract.choices import TokenizerKind
from vox_populi.errors import DataError
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME, load_hf_tokenizer
from vox_populi.hf.model_place import refuse_other_place
from vox_populi.operator_messages import plan as say
from vox_tensor.tokenizer import TextTokenizer, VoxTokenizer


@dataclass(frozen=True, slots=True)
class TokenizerChoice:
    """A tokenizer and the file it came from."""

    tokenizer: TextTokenizer
    path: Path
    notes: tuple[str, ...] = ()


def choose_tokenizer(
    kind: TokenizerKind, model_dir: Path | None, eos_ids: Sequence[int] = ()
) -> TokenizerChoice:
    """Load the tokenizer that a request means.

    `hf` is the folder's own file. `vox` is the folder's file where that is `VoxTokenizer`'s,
    else the vocabulary of the embedded base, with a note: the base never saw it.

    Args:
        kind: Who makes ids.
        model_dir: Base model folder; `None` for the embedded base.
        eos_ids: What ends a text according to the base's config, where its tokenizer names
            nothing.

    Raises:
        DataError: For `vox`, when the embedded base's own vocabulary cannot be read.
        ModelError: For `hf`, when the file is missing or the library does not accept it; when
            this installation lacks the embedded base.
        MissingExtraError: For `hf` without the module `tokenizers`.
    """
    own = (model_dir or embedded_model_dir()) / TOKENIZER_NAME
    if kind is TokenizerKind.HF:
        if model_dir is not None and not os.path.lexists(own):
            refuse_other_place(model_dir)
        return TokenizerChoice(load_hf_tokenizer(own, eos_ids), own)
    try:
        return TokenizerChoice(VoxTokenizer.load(own), own)
    except DataError:
        if model_dir is None:
            raise
    embedded = embedded_model_dir() / TOKENIZER_NAME
    notes = (say.NOTE_VOCABULARY_NEW_TO_BASE,)
    return TokenizerChoice(VoxTokenizer.load(embedded), embedded, notes)
