"""`vox mens convert-adapter`: an adapter in another format, if the layers correspond. Needs torch.

A and B have the same orientation in all formats, so that only names change. Anything the other
format cannot represent is refused or noted, never silently dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vox_populi.adapters.lora_bin import write_adapter_bin
from vox_populi.adapters.v3.files import write_qlora_adapter
from vox_populi.adapters.v3.manifest import V3Facts
from vox_populi.adapters.v3.names import logical_names
from vox_populi.errors import ArtifactError
from vox_populi.export.consumers import Consumer
from vox_populi.export.forms import consumer_form, write_form
from vox_populi.files.output_guard import Reads, require_new_file, require_new_folder
from vox_populi.files.staged_folder import new_folder
from vox_populi.hf.keymap import embedding_key
from vox_populi.operator_messages import export as say_export
from vox_populi.pipeline.adapter_base import fitting_modules
from vox_populi.pipeline.convert import AdapterForm, ConvertReport, ConvertRequest
from vox_populi.pipeline.convert_sources import FoundAdapter, find_adapter


@dataclass(frozen=True, slots=True)
class _Written:
    files: tuple[str, ...]
    renamed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def convert_adapter(request: ConvertRequest) -> ConvertReport:
    """Read an adapter of any form and write it in another, as something new.

    Raises:
        PreflightError: When the output exists.
        ArtifactError: For an adapter that cannot be read, that the target cannot hold, or that
            does not fit the base that was named.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    _check_output(request)
    found = find_adapter(request)
    if found.form is request.target is not AdapterForm.V3:
        raise ArtifactError(say_export.convert_same_form(str(request.source), request.target))
    header = found.header
    if request.base is not None:
        fitting_modules(found.base.inventory(), header, found.where)
    if header.graph.is_proxy and request.target is not AdapterForm.V3:
        raise ArtifactError(
            say_export.proxy_has_no_other_form(
                str(request.source), header.graph, request.target.value
            )
        )
    written = _WRITERS[request.target](found, request.output)
    quantization = header.quantization
    return ConvertReport(
        source_form=found.words,
        target=request.target,
        output=request.output,
        files=written.files,
        graph=header.graph,
        base_quant="none" if quantization is None else quantization.base_quant,
        modules=len(header.modules),
        rank=header.lora.rank,
        alpha=header.lora.alpha,
        use_rslora=header.lora.use_rslora,
        renamed=written.renamed,
        notes=(*found.notes, *written.notes),
    )


def _check_output(request: ConvertRequest) -> None:
    if request.target is AdapterForm.LORA_BIN:
        require_new_file(request.output, say_export.export_target_exists)
        return
    named = (request.source, request.base, request.meta)
    reads = Reads(whole=tuple(path for path in named if path is not None))
    require_new_folder(request.output, reads, occupied=say_export.export_target_exists)


def _write_bin(found: FoundAdapter, output: Path) -> _Written:
    write_adapter_bin(output, found.header, found.tensors)
    notes = []
    if found.header.quantization is not None:
        notes.append(say_export.NOTE_STAYS_QLORA)
    if found.provenance is not None:
        notes.append(say_export.NOTE_PROVENANCE_DROPPED)
    return _Written((output.name,), _from_their_names(found), tuple(notes))


def _write_peft(found: FoundAdapter, output: Path) -> _Written:
    inventory = found.base.inventory()
    config = inventory.config
    modules = fitting_modules(inventory, found.header, found.where)
    form = consumer_form(Consumer.PEFT, found.header, modules, found.tensors, config)
    with new_folder(output) as folder:
        write_form(folder.path, form, modules, config)
        files = folder.files()
    is_quantised = found.header.quantization is not None
    notes = (say_export.NOTE_PEFT_LOSES_QUANTISATION,) if is_quantised else ()
    renamed = tuple(f"{module.ours} -> base_model.model.{module.theirs}" for module in modules)
    return _Written(files, renamed, (*form.notes, *notes))


def _write_v3(found: FoundAdapter, output: Path) -> _Written:
    facts = found.v3 or _facts_of_base(found)
    with new_folder(output) as folder:
        paths = write_qlora_adapter(folder.path, found.header, found.tensors, facts)
    names = logical_names(found.header.graph, found.header.modules)
    renamed = tuple(f"{ours} -> {theirs}" for ours, theirs in names.items() if ours != theirs)
    if found.form is AdapterForm.V3:
        renamed = ()
    return _Written(tuple(path.name for path in paths), renamed)


def _facts_of_base(found: FoundAdapter) -> V3Facts:
    inventory = found.base.inventory()
    fitting_modules(inventory, found.header, found.where)
    config = inventory.config
    return V3Facts(
        vocab=config.vocab_size,
        d_model=config.hidden_size,
        embed_key=embedding_key(config),
        is_head_tied=inventory.tied_head,
        provenance=found.provenance,
    )


def _from_their_names(found: FoundAdapter) -> tuple[str, ...]:
    header = found.header
    if found.form is AdapterForm.PEFT:
        names = {module.ours: module.base_key for module in header.modules}
        prefix = "base_model.model."
    else:
        names, prefix = logical_names(header.graph, header.modules), ""
    return tuple(f"{prefix}{theirs} -> {ours}" for ours, theirs in names.items() if ours != theirs)


_WRITERS = {
    AdapterForm.LORA_BIN: _write_bin,
    AdapterForm.PEFT: _write_peft,
    AdapterForm.V3: _write_v3,
}
