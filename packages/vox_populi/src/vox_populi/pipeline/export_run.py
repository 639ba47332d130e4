"""`vox mens export-adapter`: our adapter in another program's format. Needs torch."""

from __future__ import annotations

from pathlib import Path

from vox_populi.adapters.header import (
    AdapterHeader,
)
from vox_populi.errors import ArtifactError
from vox_populi.export.forms import consumer_form, write_form
from vox_populi.files.output_guard import Reads, require_new_folder
from vox_populi.files.staged_folder import new_folder
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import export as say_export
from vox_populi.pipeline.adapter_base import base_folder, fitting_modules
from vox_populi.pipeline.adapter_choice import adapter_path, hint_of_run
from vox_populi.pipeline.export import ExportReport, ExportRequest
from vox_populi.pipeline.own_adapter import read_own_adapter
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.checkpoint_dir import checkpoint_at


def export_adapter(request: ExportRequest) -> ExportReport:
    """Write an adapter for another program, in a new folder that appears complete.

    Raises:
        PreflightError: When the output folder exists.
        ArtifactError: For an adapter that cannot be read, that does not fit its base, or that
            the consumer cannot load, with every reason.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    path = _adapter_path(request.source)
    reads = (path,) if request.model_dir is None else (path, request.model_dir)
    _check_output(request, reads)
    adapter = read_own_adapter(path)
    if adapter.header.graph.is_proxy:
        raise ArtifactError(say_export.proxy_has_no_consumer(str(path), adapter.header.graph))
    folder = base_folder(request.model_dir or hint_of_run(path), path, adapter.header)
    if folder is not None:
        _check_output(request, (folder,))
    is_quantized = adapter.header.quantization is not None
    inventory = read_inventory(folder or embedded_model_dir(), allow_nf4=is_quantized)
    config = inventory.config
    _require_family(inventory, adapter.header, str(path))
    modules = fitting_modules(inventory, adapter.header, str(path))
    form = consumer_form(request.consumer, adapter.header, modules, adapter.tensors, config)
    with new_folder(request.output_dir) as output:
        write_form(output.path, form, modules, config)
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
        notes=(*form.notes, *_notes(adapter.header)),
    )


def _check_output(request: ExportRequest, reads: tuple[Path, ...]) -> None:
    """Refuse an output that exists or overlaps an input."""
    exists = say_export.export_target_exists
    require_new_folder(request.output_dir, Reads(whole=reads), occupied=exists)


def _require_family(inventory: ModelInventory, header: AdapterHeader, where: str) -> None:
    """Refuse a base of a different family; no weights are read, so there is no digest to compare.

    Raises:
        ArtifactError: With both bases.
    """
    if inventory.config.model_type != header.model_type:
        found = str(inventory.model_dir)
        problem = say_adapter.adapter_not_for_base(
            where, header.base_name, header.base_digest, found
        )
        raise ArtifactError(problem)


def _notes(header: AdapterHeader) -> tuple[str, ...]:
    return () if header.quantization is None else (say_export.note_exported_from_nf4(),)


def _adapter_path(source: Path) -> Path:
    """The adapter file of a run or of one of its checkpoints, or the file itself."""
    is_run = source.is_dir() and checkpoint_at(source) is None
    choice = WeightsChoice(run=source) if is_run else WeightsChoice(checkpoint=source)
    path = adapter_path(choice)
    assert path is not None, "one of the two is named"
    return path
