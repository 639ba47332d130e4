"""`vox mens convert-adapter`: an adapter in another format, if the layers correspond. Needs torch.

A and B have the same orientation in all formats, so that only names change. Anything the other
format cannot represent is refused or noted, never silently dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.adapters.base import fitting_modules
from vox_populi.adapters.lora_bin import write_adapter_bin
from vox_populi.adapters.v3.facts import Provenance
from vox_populi.adapters.v3.files import write_qlora_adapter
from vox_populi.adapters.v3.manifest import OurManifest, V3Facts
from vox_populi.adapters.v3.names import logical_names
from vox_populi.errors import ArtifactError
from vox_populi.export.base_name import loadable_name
from vox_populi.export.consumers import Consumer
from vox_populi.export.forms import consumer_form, write_form
from vox_populi.files.output_guard import Reads, require_new_file, require_new_folder
from vox_populi.files.staged_folder import new_folder
from vox_populi.hf.keymap import HEAD
from vox_populi.operator_messages import export as say
from vox_populi.pipeline.convert import ConvertReport, ConvertRequest
from vox_populi.runs.adapter_place import AdapterForm
from vox_populi.runs.find_adapter import FoundAdapter, find_adapter


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
    found = find_adapter(request.source, request.base, request.meta).on_its_base()
    if found.place.form is request.target is not AdapterForm.V3:
        raise ArtifactError(say.convert_same_form(request.target).at(str(request.source)))
    header = found.adapter.header
    if request.base is not None:
        fitting_modules(found.inventory(), header, found.where)
    if header.graph.is_proxy and request.target is not AdapterForm.V3:
        raise ArtifactError(
            say.proxy_has_no_other_form(header.graph, request.target.value).at(str(request.source))
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
        require_new_file(request.output, say.EXPORT_TARGET_EXISTS.at)
        return
    named = (request.source, request.base, request.meta)
    reads = Reads(whole=tuple(path for path in named if path is not None))
    require_new_folder(request.output, reads, occupied=say.EXPORT_TARGET_EXISTS.at)


def _write_bin(found: FoundAdapter, output: Path) -> _Written:
    header = found.adapter.header
    write_adapter_bin(output, header, found.adapter.tensors)
    notes = []
    if header.quantization is not None:
        notes.append(say.NOTE_STAYS_QLORA)
    if _provenance(found) is not None:
        notes.append(say.NOTE_PROVENANCE_DROPPED)
    return _Written((output.name,), _from_their_names(found), tuple(notes))


def _write_peft(found: FoundAdapter, output: Path) -> _Written:
    inventory = found.inventory()
    config, header = inventory.config, found.adapter.header
    modules = fitting_modules(inventory, header, found.where)
    base_name = loadable_name(inventory.model_dir)
    form = consumer_form(Consumer.PEFT, found.adapter, modules, config, base_name)
    with new_folder(output) as folder:
        write_form(folder.path, form, modules, config)
        files = folder.files()
    is_quantised = header.quantization is not None
    notes = (say.NOTE_PEFT_LOSES_QUANTISATION,) if is_quantised else ()
    renamed = tuple(f"{module.ours} -> base_model.model.{module.theirs}" for module in modules)
    return _Written(files, renamed, (*form.notes, *notes))


def _write_v3(found: FoundAdapter, output: Path) -> _Written:
    ours = None if found.sidecar is None else found.sidecar.ours
    facts = _facts_of_base(found) if ours is None else _v3_facts(ours)
    header = found.adapter.header
    with new_folder(output) as folder:
        paths = write_qlora_adapter(folder.path, header, found.adapter.tensors, facts)
    names = logical_names(header.graph, header.modules)
    renamed = tuple(f"{ours} -> {theirs}" for ours, theirs in names.items() if ours != theirs)
    if found.place.form is AdapterForm.V3:
        renamed = ()
    return _Written(tuple(path.name for path in paths), renamed)


def _v3_facts(manifest: OurManifest) -> V3Facts:
    """Facts of a manifest that the header does not have."""
    facts = manifest.facts
    assert facts.embed_key is not None, "our manifests have it"
    return V3Facts(
        vocab=facts.vocab,
        d_model=facts.d_model,
        embed_key=facts.embed_key,
        is_head_tied=facts.base_key_map.get(HEAD) == facts.embed_key,
        training_objective_note=manifest.training_objective_note,
        provenance=facts.provenance,
    )


def _facts_of_base(found: FoundAdapter) -> V3Facts:
    inventory = found.inventory()
    fitting_modules(inventory, found.adapter.header, found.where)
    facts = V3Facts.of_base(inventory.config, is_head_tied=inventory.tied_head)
    return replace(facts, provenance=_provenance(found))


def _provenance(found: FoundAdapter) -> Provenance | None:
    return None if found.sidecar is None else found.sidecar.facts.provenance


def _from_their_names(found: FoundAdapter) -> tuple[str, ...]:
    header = found.adapter.header
    if found.place.form is AdapterForm.PEFT:
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
