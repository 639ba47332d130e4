"""The template and the end of a training beside an exported adapter. No torch here."""

from __future__ import annotations

from collections.abc import Iterator

from vox_populi.adapters.header import AdapterHeader
from vox_populi.export.consumers import Consumer
from vox_populi.files.whole_file import Chunk
from vox_populi.hf.chat_template_files import TEMPLATE_FILE
from vox_populi.hf.companion_files import TOKENIZER_FILES
from vox_populi.hf.generation_config import GENERATION_CONFIG_NAME
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.saved_path import without_saved_path
from vox_populi.merge.model_files import copied_files
from vox_populi.merge.served_text import served_files
from vox_populi.operator_messages import export as say

_BESIDE_PEFT = (*TOKENIZER_FILES, GENERATION_CONFIG_NAME)


def text_files(
    consumer: Consumer, header: AdapterHeader, base: ModelInventory
) -> tuple[dict[str, list[Chunk]], tuple[str, ...]]:
    """Files that lay out text as in training, by name, and notes about them.

    PEFT and vLLM take a tokenizer from an adapter's folder; the others take a template by a flag.
    An adapter that does not record its layout has none.

    Args:
        consumer: The program that will load the adapter.
        header: The adapter's header, as it may be published.
        base: The inventory of the base.

    Raises:
        ModelError: When a file of the base cannot be read.
    """
    copied, _ = copied_files(base.model_dir, header)
    made = served_files(copied, header, base)
    if made.receipt is None:
        return {}, ()
    takes_tokenizer = consumer in (Consumer.PEFT, Consumer.VLLM)
    names = _BESIDE_PEFT if takes_tokenizer else (TEMPLATE_FILE,)
    files: dict[str, list[Chunk]] = {
        name: [without_saved_path(name, made.files[name])] for name in names if name in made.files
    }
    return files, (*made.notes, *_notes(consumer, files, made.end))


def _notes(consumer: Consumer, files: dict[str, list[Chunk]], end: str) -> Iterator[str]:
    if TEMPLATE_FILE not in files:
        return
    if consumer is Consumer.GGUF:
        yield say.NOTE_TEMPLATE_FOR_LLAMA_CPP
    if consumer is Consumer.MLX:
        yield say.note_template_for_mlx(end)
