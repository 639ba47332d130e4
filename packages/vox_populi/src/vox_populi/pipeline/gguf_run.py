"""`vox mens export-gguf`: a model, or base and adapter, as a GGUF file. Needs torch and gguf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from vox_populi.adapters.base import require_base
from vox_populi.adapters.v3.names import QLORA_ADAPTER_FILE
from vox_populi.errors import ArtifactError, MergeMismatchError
from vox_populi.export.consumers import GgufType
from vox_populi.export.gguf.merged_model import gguf_model, merged_source
from vox_populi.export.gguf.model import GgufSource, gguf_context, stored_source, write_model_gguf
from vox_populi.export.gguf.vocabulary import (
    GgufVocabulary,
    gguf_refusals,
    read_chat_templates,
    read_gguf_vocabulary,
)
from vox_populi.files.made_folders import made_folder
from vox_populi.files.output_guard import require_new_file
from vox_populi.hf.inventory import ModelInventory, base_digest, read_inventory
from vox_populi.merge.inputs import MergeInputs, lora_inputs, qlora_inputs
from vox_populi.merge.prove import MergeProof, row_figures
from vox_populi.merge.receipt import RowCheck
from vox_populi.merge.steps import most_threads, workers_of
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages import merge as say_merge
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.gguf import GgufReport, GgufRequest
from vox_populi.runs.adapter_place import adapter_at, means_adapter
from vox_tensor.atomic_file import staged_file
from vox_tensor.errors import Problem


def export_gguf(request: GgufRequest) -> GgufReport:
    """Write a GGUF file that appears complete and was read back.

    For an adapter, the update is added to the base in float32 and rounded once, to the file's type;
    a type that loses what was trained is not published.

    Raises:
        VoxError: As `pipeline.gguf.export_gguf` says; nothing is published.
    """
    require_new_file(request.output, say_export.export_target_exists)
    if not means_adapter(request.source):
        inventory = read_inventory(request.source)
        found = _Files.of(inventory)
        return _publish(request, stored_source(inventory), found, request.kind.candidates[0])
    inputs = _merge_inputs(request)
    inventory, where = inputs.inventory, inputs.where
    require_base(inventory, base_digest(inventory), inputs.adapter.header, where)
    found = _Files.of(inventory)
    kind, rows, notes = _kind_that_keeps(request, inputs)
    source = merged_source(inventory, inputs.graph, where)
    return _publish(request, source, found, kind, rows, (*inputs.notes, *notes))


@dataclass(frozen=True, slots=True)
class _Files:
    """Contents of a GGUF file besides the numbers."""

    vocabulary: GgufVocabulary
    templates: Mapping[str, str]

    @classmethod
    def of(cls, inventory: ModelInventory) -> _Files:
        """The contents for a model folder, checked before anything is computed.

        Raises:
            ArtifactError: For anything the format cannot describe.
        """
        folder = inventory.model_dir
        problems = gguf_refusals(folder, inventory.config)
        if problems:
            raise ArtifactError(*problems)
        vocabulary = read_gguf_vocabulary(folder, inventory.config.vocab_size)
        return cls(vocabulary, read_chat_templates(folder))


def _merge_inputs(request: GgufRequest) -> MergeInputs:
    source = request.source
    place = adapter_at(source)
    if place is not None and place.file.name == QLORA_ADAPTER_FILE:
        return qlora_inputs(source, request.model_dir)
    return lora_inputs(source, request.model_dir)


def _kind_that_keeps(
    request: GgufRequest, inputs: MergeInputs
) -> tuple[GgufType, RowCheck | None, tuple[str, ...]]:
    """The first of the candidate types that keeps what was trained.

    Raises:
        MergeMismatchError: When the last one does not.
    """
    where = inputs.where
    lost: list[Problem] = []
    notes: list[str] = []
    with on_device("cpu", 1), workers_of(most_threads()) as workers:
        proof = MergeProof(inputs, workers)
        for kind in request.kind.candidates:
            rows = proof.score(partial(gguf_model, inputs.inventory, inputs.graph, kind))
            if rows is None:
                return kind, None, (say_merge.note_no_check_rows(),)
            if rows.is_within:
                return kind, rows, tuple(notes)
            notes.append(say_merge.note_wider_type("f32", kind))
            lost.append(say_merge.merge_loses_training(where, kind, row_figures(rows)))
    raise MergeMismatchError(lost[-1])


def _publish(
    request: GgufRequest,
    source: GgufSource,
    found: _Files,
    kind: GgufType,
    rows: RowCheck | None = None,
    notes: tuple[str, ...] = (),
) -> GgufReport:
    with made_folder(request.output.parent), staged_file(request.output) as temporary:
        count = write_model_gguf(temporary, source, kind, found.vocabulary, found.templates)
        size = temporary.stat().st_size
    return GgufReport(
        output=request.output,
        kind=kind,
        tensors=count,
        total_bytes=size,
        pre_tokenizer=found.vocabulary.pre,
        context=gguf_context(source.config),
        rows=rows,
        notes=(*found.vocabulary.notes, *notes),
    )
