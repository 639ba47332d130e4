"""`vox mens export-gguf`: a model, or base and adapter, as a GGUF file. Needs torch and gguf."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vox_populi import extras
from vox_populi.adapters.base import require_base
from vox_populi.adapters.v3.names import QLORA_ADAPTER_FILE
from vox_populi.data.chat_template import TEMPLATE_DATE, ModelTemplate
from vox_populi.errors import ArtifactError, MergeMismatchError, ModelError
from vox_populi.export.consumers import GgufType
from vox_populi.export.gguf.merged_model import gguf_model, merged_source
from vox_populi.export.gguf.model import GgufSource, gguf_context, stored_source, write_model_gguf
from vox_populi.export.gguf.text import GgufText, text_of_folder, text_of_training
from vox_populi.export.gguf.vocabulary import (
    GgufVocabulary,
    gguf_refusals,
    read_gguf_vocabulary,
)
from vox_populi.export.ollama import go_template_of, modelfile
from vox_populi.files.made_folders import made_folder
from vox_populi.files.output_guard import require_new_file
from vox_populi.files.whole_file import write_whole
from vox_populi.hf.chat_template_files import DEFAULT_NAME
from vox_populi.hf.generation_config import read_stop_ids
from vox_populi.hf.inventory import ModelInventory, base_digest, read_inventory
from vox_populi.hf.model_config import ModelConfig
from vox_populi.merge.inputs import MergeInputs, lora_inputs, qlora_inputs
from vox_populi.merge.model_files import tokenizer_folder
from vox_populi.merge.prove import MergeProof, row_figures
from vox_populi.merge.receipt import RowCheck
from vox_populi.merge.served_text import served_text, serving_notes
from vox_populi.merge.steps import most_threads, workers_of
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages import merge as say_merge
from vox_populi.operator_messages import served_text as say_served
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
    for path in (request.output, request.modelfile):
        require_new_file(path, say_export.EXPORT_TARGET_EXISTS.at)
    if not means_adapter(request.source):
        inventory = read_inventory(request.source)
        found = _Files.of_folder(inventory)
        return _publish(request, stored_source(inventory), found, request.kind.candidates[0])
    inputs = _merge_inputs(request)
    inventory, where = inputs.inventory, inputs.where
    require_base(inventory, base_digest(inventory), inputs.adapter.header, where)
    found = _Files.of_adapter(inputs, request)
    kind, rows, notes = _kind_that_keeps(request, inputs)
    source = merged_source(inventory, inputs.graph, where)
    return _publish(request, source, found, kind, rows, (*inputs.notes, *notes))


@dataclass(frozen=True, slots=True)
class _Files:
    """Contents of a GGUF file besides the numbers, checked before anything is computed."""

    vocabulary: GgufVocabulary
    text: GgufText
    notes: tuple[str, ...] = ()

    @classmethod
    def of_folder(cls, inventory: ModelInventory) -> _Files:
        """The contents for a model folder.

        Raises:
            ArtifactError: For anything the format cannot describe.
        """
        folder, config = inventory.model_dir, inventory.config
        vocabulary = _vocabulary(folder, config)
        text = text_of_folder(folder, config, vocabulary)
        return cls(vocabulary, text, vocabulary.notes)

    @classmethod
    def of_adapter(cls, inputs: MergeInputs, request: GgufRequest) -> _Files:
        """The contents for a base with an adapter, whose template and end are those of training.

        Raises:
            ArtifactError: For anything the format cannot describe.
        """
        inventory, trained = inputs.inventory, inputs.adapter.header
        folder, config = inventory.model_dir, inventory.config
        vocabulary = _vocabulary(tokenizer_folder(folder, trained), config)
        header = trained.for_publishing(include_system_prompt=request.include_system_prompt)
        ends = read_stop_ids(folder, config.vocab_size) or config.eos_ids
        served = None if request.keep_base_text else served_text(header, ends, folder)
        if served is None:
            notes = () if request.keep_base_text else (say_served.NOTE_LAYOUT_NOT_RECORDED,)
            text = text_of_folder(folder, config, vocabulary)
            return cls(vocabulary, text, (*vocabulary.notes, *notes))
        text = text_of_training(served, folder, config, vocabulary)
        return cls(vocabulary, text, (*vocabulary.notes, *serving_notes(served)))


def _vocabulary(folder: Path, config: ModelConfig) -> GgufVocabulary:
    problems = gguf_refusals(folder, config)
    if problems:
        raise ArtifactError(*problems)
    return read_gguf_vocabulary(folder, config.vocab_size)


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
                return kind, None, (say_merge.NOTE_NO_CHECK_ROWS,)
            if rows.is_within:
                return kind, rows, tuple(notes)
            notes.append(say_merge.note_wider_type("f32", kind))
            lost.append(say_merge.merge_loses_training(kind, row_figures(rows)).at(where))
    raise MergeMismatchError(lost[-1])


def _publish(
    request: GgufRequest,
    source: GgufSource,
    found: _Files,
    kind: GgufType,
    rows: RowCheck | None = None,
    notes: tuple[str, ...] = (),
) -> GgufReport:
    for_ollama, is_exact = _modelfile(request, found)
    with made_folder(request.output.parent), staged_file(request.modelfile) as beside:
        write_whole(beside, for_ollama)
        with staged_file(request.output) as temporary:
            count = write_model_gguf(temporary, source, kind, found.vocabulary, found.text)
            size = temporary.stat().st_size
    guessed = () if is_exact else (say_export.NOTE_OLLAMA_GUESSES,)
    outer = source.config.outer
    alone = () if outer is None else (say_export.note_text_model_alone(outer.name),)
    return GgufReport(
        output=request.output,
        kind=kind,
        tensors=count,
        total_bytes=size,
        pre_tokenizer=found.vocabulary.pre,
        context=gguf_context(source.config),
        rows=rows,
        modelfile=request.modelfile,
        notes=(*found.notes, *alone, *guessed, *notes),
    )


def _modelfile(request: GgufRequest, found: _Files) -> tuple[bytes, bool]:
    """The content of the file for Ollama, and whether it has the template."""
    text, tokens = found.text, found.vocabulary.tokens
    names = {"bos_token": text.bos_id, "eos_token": text.eos_id}
    named = {name: tokens[number] for name, number in names.items() if number is not None}
    ends = dict.fromkeys(end for end in (text.eot_id, text.eos_id) if end is not None)
    go_template = None
    template = text.templates.get(DEFAULT_NAME)
    if template is not None and extras.is_installed("jinja2"):
        try:
            own = ModelTemplate(text=template, tokens=named, now=TEMPLATE_DATE)
        except ModelError:
            own = None  # llama.cpp may still know what to do with it.
        go_template = None if own is None else go_template_of(own)
    stops = [tokens[end] for end in ends]
    return modelfile(request.output.name, go_template, stops), go_template is not None
