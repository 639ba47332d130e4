"""The small files of a merged folder: config, tokenizer, licences, model card."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vox_populi.adapters.header import AdapterHeader
from vox_populi.contract.choices import TokenizerKind
from vox_populi.files.published_file import read_published_file
from vox_populi.hf.companion_files import (
    OTHER_FILES,
    TEMPLATES_FOLDER,
    TOKENIZER_FILES,
)
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.hf.inventory import ModelInventory
from vox_populi.merge.receipt import TensorChange
from vox_populi.merge.served_text import is_our_vocabulary
from vox_populi.operator_messages import merge as say
from vox_populi.runs.model_card import code_span


def copied_files(
    base: Path, header: AdapterHeader | None
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Files that are copied byte for byte, by name, and notes about them.

    An adapter trained with our vocabulary on a base with a different one gets ours. Without an
    adapter (`None`), the files are the folder's own.

    Raises:
        ModelError: When a file exists but cannot be read, or is a link out of the folder.
    """
    names = [name for name in OTHER_FILES if os.path.lexists(base / name)]
    files = {name: read_published_file(base / name, base) for name in names}
    own_folder = base if header is None else tokenizer_folder(base, header)
    if own_folder != base:
        files[TOKENIZER_NAME] = read_published_file(own_folder / TOKENIZER_NAME, own_folder)
        return files, (say.note_merge_vocabulary(EMBEDDED_NAME),)
    own = [name for name in TOKENIZER_FILES if os.path.lexists(base / name)]
    templates = sorted((base / TEMPLATES_FOLDER).glob("*.jinja"))
    own += [f"{TEMPLATES_FOLDER}/{path.name}" for path in templates]
    files |= {name: read_published_file(base / name, base) for name in own}
    return files, () if own else (say.NOTE_MERGE_WITHOUT_TOKENIZER,)


def tokenizer_folder(base: Path, header: AdapterHeader) -> Path:
    """The folder whose tokenizer an adapter was trained with: the base, or the embedded one.

    Raises:
        ModelError: When this installation lacks the embedded base.
    """
    if header.tokenizer is TokenizerKind.VOX and not is_our_vocabulary(base / TOKENIZER_NAME):
        return embedded_model_dir()
    return base


def merged_card(
    header: AdapterHeader,
    inventory: ModelInventory,
    changes: tuple[TensorChange, ...],
    dtype: str,
    onto: str | None = None,
) -> bytes:
    """`README.md` of the output, without dates and paths.

    Args:
        header: The adapter's header.
        inventory: The base's inventory.
        changes: Tensors with an update.
        dtype: Number type of the output, as in a config.
        onto: For a QLoRA adapter: `original` or `dequant`, the weights it was added to.
    """
    return ("\n".join(_card_lines(header, inventory, changes, dtype, onto)) + "\n").encode()


def _card_lines(
    header: AdapterHeader,
    inventory: ModelInventory,
    changes: tuple[TensorChange, ...],
    dtype: str,
    onto: str | None,
) -> Iterator[str]:
    lora = header.lora
    roles = sorted({role for module in header.modules for role in module.roles})
    yield "---"
    yield "library_name: transformers"
    yield "pipeline_tag: text-generation"
    yield "---"
    yield ""
    yield (
        f"# {header.base_name} with a merged adapter"
        if _is_plain(header.base_name)
        else ("# A base model with a merged adapter")
    )
    yield ""
    yield f"- base: {code_span(header.base_name)} ({code_span(header.model_type)})"
    yield f"- base digest: {code_span(header.base_digest)}"
    base_dtype = inventory.config.dtype
    origin = "as in the base" if dtype == base_dtype else f"where the base has {base_dtype}"
    yield f"- numbers: {code_span(dtype)}, {origin}"
    yield f"- adapter: rank {lora.rank}, alpha {lora.alpha:g}, on {' '.join(roles)}"
    yield f"- trained for {header.step} steps with the template {code_span(header.template)}"
    if header.withholds_system_prompt:
        yield "- trained with a system prompt, which the model expects; it is not stored here;"
        yield f"  digest of template and prompt: {code_span(header.template_digest)}"
    yield f"- changed tensors: {sum(change.is_changed for change in changes)}"
    yield ""
    if header.quantization is not None:
        yield from _quantization_lines(header, onto)
    same = "byte for byte" if dtype == base_dtype else f"rounded to {dtype}"
    if inventory.config.mxfp4 is not None:
        same += ", or dense where the base has MXFP4"
    if onto == "dequant":
        yield "Weights that training held in NF4 are here as NF4 gives them; every other tensor is"
        yield f"the base's, {same}. The sum was formed in float32 and"
    else:
        yield f"Every other tensor is the base's, {same}. The sum was formed in float32 and"
    yield "rounded once. `merge_receipt.json` has the digests and the measured difference between"
    yield "these files and the adapter beside its base. The base's licence and limits come with it."


def _quantization_lines(header: AdapterHeader, onto: str | None) -> Iterator[str]:
    assert header.quantization is not None
    block = header.quantization.nf4.block_size
    double = "with" if header.quantization.nf4.double_quant else "without"
    yield f"The adapter was trained in the graph {code_span(header.graph)} on weights in NF4, block"
    yield f"size {block}, {double} double quantisation, and added to the {onto} weights."
    yield ""


def _is_plain(name: str) -> bool:
    return all(c.isalnum() or c in "._- " for c in name)
