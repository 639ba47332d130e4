"""`vox mens export-adapter`: our adapter in another program's format. Needs torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vox_populi.adapters.base import fitting_modules
from vox_populi.adapters.header import (
    AdapterHeader,
)
from vox_populi.adapters.peft.config import PEFT_WEIGHTS_FILE
from vox_populi.errors import ArtifactError
from vox_populi.export.base_name import loadable_name
from vox_populi.export.consumers import MLX_WEIGHTS_FILE, Consumer
from vox_populi.export.forms import ConsumerForm, consumer_form, write_form
from vox_populi.export.text_files import text_files
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.known_names import PEFT_CONFIG_FILE
from vox_populi.files.output_guard import Reads, require_new_folder
from vox_populi.files.staged_folder import StagedFolder, new_folder
from vox_populi.files.whole_file import Chunk, pretty_json
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.generation_config import read_stop_ids
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.merge.served_text import served_text
from vox_populi.merge.serving_handoff import (
    HANDOFF_FILE,
    ServedArtifact,
    folder_digests,
    handoff,
)
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import export as say_export
from vox_populi.pipeline.export import ExportReport, ExportRequest
from vox_populi.runs.adapter_place import require_run_adapter
from vox_populi.runs.checkpoint_dir import checkpoint_at
from vox_populi.runs.find_adapter import find_own_adapter

_BACKEND_FAMILIES = {Consumer.PEFT: "hf-transformers", Consumer.VLLM: "vllm"}
_ADAPTER_FILES = {Consumer.MLX: MLX_WEIGHTS_FILE}
"""Files with an adapter's numbers; those of other consumers are PEFT's."""


def export_adapter(request: ExportRequest) -> ExportReport:
    """Write an adapter for another program, in a new folder that appears complete.

    Raises:
        PreflightError: When the output folder exists.
        ArtifactError: For an adapter that cannot be read, that does not fit its base, or that
            the consumer cannot load, with every reason.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    if request.source.is_dir() and checkpoint_at(request.source) is None:
        require_run_adapter(request.source)
    reads = (request.source, request.model_dir)
    _check_output(request, tuple(path for path in reads if path is not None))
    found = find_own_adapter(request.source, request.model_dir)
    header, where = found.adapter.header, found.where
    if header.graph.is_proxy:
        raise ArtifactError(say_export.proxy_has_no_consumer(header.graph).at(where))
    folder = found.base_folder()
    if folder is not None:
        _check_output(request, (folder,))
    is_quantized = header.quantization is not None
    inventory = read_inventory(
        folder or embedded_model_dir(), allow_nf4=is_quantized, source=header.source
    )
    config = inventory.config
    _require_family(inventory, header, where)
    modules = fitting_modules(inventory, header, where)
    base_name = request.base_name or loadable_name(inventory.model_dir)
    form = consumer_form(request.consumer, found.adapter, modules, config, base_name)
    texts, text_notes = _text_files(request, header, inventory)
    form = replace(form, files={**form.files, **texts})
    with new_folder(request.output_dir) as output:
        write_form(output.path, form, modules, config)
        document = _handoff(request, header, inventory, output)
        output.write(HANDOFF_FILE, pretty_json(document))
        files = output.files()
    return ExportReport(
        consumer=request.consumer,
        output_dir=request.output_dir,
        files=files,
        modules=len(modules),
        rank=form.lora.rank,
        alpha=form.lora.alpha,
        renamed=form.renamed,
        rescaled=form.rescaled,
        notes=(*form.notes, *text_notes, *_notes(header), *_base_notes(form, base_name)),
    )


def _handoff(
    request: ExportRequest, header: AdapterHeader, base: ModelInventory, output: StagedFolder
) -> JsonObject:
    """The file for a server that loads the adapter on its base."""
    public = header.for_publishing(include_system_prompt=request.include_system_prompt)
    ends = read_stop_ids(base.model_dir, base.config.vocab_size) or base.config.eos_ids
    is_trained = header.imported is None and not request.keep_base_text
    artifact = ServedArtifact(
        backend_family=_BACKEND_FAMILIES.get(request.consumer, "other"),
        files=folder_digests(output.path, output.files()),
        dtype="float32",
        max_positions=base.config.max_positions,
        adapter_path=_ADAPTER_FILES.get(request.consumer, PEFT_WEIGHTS_FILE),
    )
    served = served_text(public, ends, base.model_dir) if is_trained else None
    return handoff(public, artifact, served, ends)


def _text_files(
    request: ExportRequest, header: AdapterHeader, inventory: ModelInventory
) -> tuple[dict[str, list[Chunk]], tuple[str, ...]]:
    """Template and tokenizer of the training; an imported adapter records none."""
    if request.keep_base_text or header.imported is not None:
        return {}, ()
    public = header.for_publishing(include_system_prompt=request.include_system_prompt)
    return text_files(request.consumer, public, inventory)


def _check_output(request: ExportRequest, reads: tuple[Path, ...]) -> None:
    """Refuse an output that exists or overlaps an input."""
    exists = say_export.EXPORT_TARGET_EXISTS.at
    require_new_folder(request.output_dir, Reads(whole=reads), occupied=exists)


def _require_family(inventory: ModelInventory, header: AdapterHeader, where: str) -> None:
    """Refuse a base of a different family; no weights are read, so there is no digest to compare.

    Raises:
        ArtifactError: With both bases.
    """
    if inventory.config.model_type != header.model_type:
        found = str(inventory.model_dir)
        problem = say_adapter.adapter_not_for_base(header.base_name, header.base_digest, found).at(
            where
        )
        raise ArtifactError(problem)


def _base_notes(form: ConsumerForm, base_name: str) -> tuple[str, ...]:
    """A reminder that a folder of this machine is in the files."""
    names_base = PEFT_CONFIG_FILE in form.files and say_export.NOTE_IMPORTED_AS_IS not in form.notes
    is_folder = names_base and Path(base_name).is_absolute()
    return (say_export.NOTE_BASE_IS_A_FOLDER,) if is_folder else ()


def _notes(header: AdapterHeader) -> tuple[str, ...]:
    return () if header.quantization is None else (say_export.NOTE_EXPORTED_FROM_NF4,)
