"""`vox mens import-gguf`: a model folder made of a GGUF file. Needs torch."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vox_populi import extras
from vox_populi.bases.gguf_folder import (
    GgufFolderPlan,
    main_type,
    plan_gguf_folder,
    text_files,
    tokenizer_files,
    write_gguf_folder,
)
from vox_populi.bases.gguf_weights import needs_dequantising
from vox_populi.containers.dtypes import CONFIG_NAME_OF
from vox_populi.containers.gguf_header import read_gguf_header
from vox_populi.containers.gguf_types import PLAIN_TYPES
from vox_populi.errors import ModelError
from vox_populi.files.file_digest import content_digest
from vox_populi.files.output_guard import require_new_folder, require_room
from vox_populi.files.published_file import read_published_file
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import pretty_json
from vox_populi.hf.companion_files import TEMPLATES_FOLDER, TOKENIZER_FILES
from vox_populi.hf.gguf_config import embedding_rows, gguf_family
from vox_populi.hf.gguf_fields import GgufFields
from vox_populi.hf.gguf_tokenizer import gguf_texts, gguf_tokenizer
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME, load_hf_tokenizer
from vox_populi.hf.inventory import read_inventory
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages import gguf as say
from vox_populi.operator_messages import quantize as say_quantize
from vox_populi.pipeline.import_gguf import (
    BaseDtype,
    ImportGgufReport,
    ImportGgufRequest,
    reads_of_import,
)

RECORD_FILE = "gguf_import.json"
_RECORD_SCHEMA_VERSION = 1
_ASKED = {BaseDtype.BF16: "BF16", BaseDtype.F16: "F16", BaseDtype.F32: "F32"}
_BESIDES_TENSORS = 64 * 2**20
"""Room for tokenizer and headers."""


def import_gguf(request: ImportGgufRequest) -> ImportGgufReport:
    """Write a model folder that computes what the file computes; it appears complete or not at all.

    Raises:
        VoxError: As `pipeline.import_gguf.import_gguf` says; nothing was published.
    """
    started = time.perf_counter()
    fields = GgufFields(read_gguf_header(request.source))
    gguf_family(fields)  # Before anything else about a model that could not be computed.
    asked = CONFIG_NAME_OF.get(_ASKED.get(request.dtype, ""))
    texts = gguf_texts(fields, embedding_rows(fields))
    plan = plan_gguf_folder(fields, texts.ids, asked, request.max_shard_bytes)
    if any(map(needs_dequantising, plan.tensors)):
        extras.require("gguf")
    tokenizer = _tokenizer(request, fields)
    _check_output(request, plan.total_bytes)
    digest = content_digest(request.source)
    notes = (*_notes(plan), *texts.notes)
    small = {**text_files(texts), **tokenizer.files}
    small[RECORD_FILE] = pretty_json(_record(request, fields, plan, digest))
    with StagedFolder.create(request.output) as staged:
        digests = write_gguf_folder(plan, small, staged)
        _read_again(staged.path, request)
        staged.publish()
    return ImportGgufReport(
        source=request.source,
        source_sha256=digest,
        output=request.output,
        files=tuple(sorted(digests)),
        model_type=str(plan.config["model_type"]),
        types=plan.types(),
        dtype=CONFIG_NAME_OF[plan.dtype],
        tokenizer=tokenizer.name,
        templates=tuple(texts.templates),
        total_bytes=plan.total_bytes,
        seconds=time.perf_counter() - started,
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class _Tokenizer:
    name: str
    files: Mapping[str, bytes]


def _tokenizer(request: ImportGgufRequest, fields: GgufFields) -> _Tokenizer:
    folder = request.tokenizer_from
    if folder is None:
        made = gguf_tokenizer(fields)
        return _Tokenizer(made.kind, tokenizer_files(made))
    names = [name for name in TOKENIZER_FILES if os.path.lexists(folder / name)]
    if TOKENIZER_NAME not in names:
        raise ModelError(say.no_tokenizer_there(TOKENIZER_NAME).at(str(folder)))
    templates = sorted((folder / TEMPLATES_FOLDER).glob("*.jinja"))
    names += [f"{TEMPLATES_FOLDER}/{path.name}" for path in templates]
    files = {name: read_published_file(folder / name, folder) for name in names}
    return _Tokenizer(f"from {folder}", files)


def _check_output(request: ImportGgufRequest, tensor_bytes: int) -> None:
    """Refuse a place where nothing can appear, before any weight is read."""
    reads = reads_of_import(request)
    require_new_folder(request.output, reads, occupied=say_export.EXPORT_TARGET_EXISTS.at)
    too_small = say_quantize.quantized_folder_too_large
    require_room(request.output, tensor_bytes + _BESIDES_TENSORS, too_small)


def _read_again(folder: Path, request: ImportGgufRequest) -> None:
    """Read the folder as a run would, before it gets its name."""
    inventory = read_inventory(folder)
    tokenizer = load_hf_tokenizer(folder, inventory.config.eos_ids)
    rows = inventory.config.vocab_size
    if tokenizer.vocab_size > rows:
        reason = f"it has ids up to {tokenizer.vocab_size - 1}, the embedding table {rows} rows"
        raise ModelError(say.gguf_tokenizer_unsupported(reason).at(str(request.source)))


def _notes(plan: GgufFolderPlan) -> tuple[str, ...]:
    main, dtype = main_type(plan.tensors), CONFIG_NAME_OF[plan.dtype]
    if main not in PLAIN_TYPES:
        return (say.note_quantised_source(main, dtype),)
    return () if main == plan.dtype else (say.note_rounded_source(main, dtype),)


def _record(
    request: ImportGgufRequest, fields: GgufFields, plan: GgufFolderPlan, digest: str
) -> dict[str, object]:
    """The origin of the folder, without a path."""
    said = {
        key: fields.value(f"general.{key}")
        for key in ("name", "architecture", "license")
        if isinstance(fields.value(f"general.{key}"), str)
    }
    return {
        "schema_version": _RECORD_SCHEMA_VERSION,
        "source_file": request.source.name,
        "source_sha256": digest,
        "general": said,
        "types": plan.types(),
        "main_type": main_type(plan.tensors),
        "dtype": CONFIG_NAME_OF[plan.dtype],
        "tensors": {t.key.theirs: t.source.type.name for t in plan.tensors},
    }
