"""`merge-qlora --subset`: the tensors that an adapter changes, and nothing else. Needs torch.

The result is a part of a model, in float32, under the base's own names, for users who load it into
a model themselves, as with the source system.
"""

from __future__ import annotations

import time
from pathlib import Path

from vox_populi.adapters.base import require_base
from vox_populi.errors import ArtifactError, EnvironmentFailure
from vox_populi.files.file_digest import content_digest, digest_of_contents
from vox_populi.files.new_file import sync_file
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import pretty_json
from vox_populi.merge.full_graph import MergedTensor
from vox_populi.merge.number_type import MergeDtype
from vox_populi.merge.receipt import RECEIPT_FILE, MergeReceipt, NumberTypeChoice
from vox_populi.merge.shard_writer import WrittenShard, plan_file, write_shard
from vox_populi.operator_messages import environment as say_environment
from vox_populi.operator_messages import merge as say_merge
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.merge import MergeReport, Onto, QloraMergeRequest
from vox_populi.pipeline.merge_steps import check_output
from vox_populi.pipeline.subset_inputs import (
    SubsetBase,
    graph_of,
    is_table,
    subset_base,
    subset_tensors,
)
from vox_populi.runs.find_adapter import FoundAdapter

SUBSET_FILE = "merged_subset.safetensors"
SUBSET_FORMAT = "subset"


def merge_subset(request: QloraMergeRequest, adapter: FoundAdapter) -> MergeReport:
    """Write `base + scale * B @ A` of every layer of the adapter, in float32.

    Raises:
        VoxError: As `pipeline.merge.merge_qlora` says; nothing was published.
    """
    started = time.perf_counter()
    onto = request.onto or Onto.ORIGINAL
    base = subset_base(adapter)
    tensors = subset_tensors(adapter, base, onto)
    total = sum(tensor.n_bytes for tensor in tensors)
    check_output(request, (base.path, *_sources(adapter)), total)
    read = _digests(adapter, base)
    notes = _notes(request, adapter, base, tensors, onto)
    with on_device("cpu", 1), StagedFolder.create(request.output, force=request.force) as staged:
        written = _write(tensors, base, staged)
        if not any(change.is_changed for change in written.changes):
            raise ArtifactError(say_merge.merge_adapter_is_no_op(adapter.where))
        receipt = MergeReceipt(
            output_format=SUBSET_FORMAT,
            adapter=_adapter_json(adapter, onto),
            base={"name": _base_name(adapter), "dtypes": list(base.number_types())},
            changes=written.changes,
            n_tensors=len(tensors),
            total_bytes=total,
            is_head_tied=False,
            logits=None,
            number_type=NumberTypeChoice(asked=MergeDtype.F32.value, written="float32"),
            read=read,
            written={SUBSET_FILE: f"sha256:{written.digest}"},
            notes=notes,
        )
        staged.write(RECEIPT_FILE, pretty_json(receipt.as_json()))
        kept = staged.publish()
    if kept is not None:
        notes = (*notes, say_merge.note_merge_kept_old(kept.name))
    return MergeReport(
        output=request.output,
        receipt=receipt,
        notes=notes,
        seconds=time.perf_counter() - started,
    )


def _write(tensors: list[MergedTensor], base: SubsetBase, staged: StagedFolder) -> WrittenShard:
    shard = plan_file(SUBSET_FILE, [(tensor.source.name, tensor) for tensor in tensors], {})
    written = write_shard(shard, base.folder, staged.path)
    try:
        sync_file(written.path)
    except OSError as error:
        raise EnvironmentFailure(
            say_environment.file_not_written(str(written.path), error)
        ) from error
    return written


def _digests(adapter: FoundAdapter, base: SubsetBase) -> dict[str, str]:
    """Digests of all input files, by name; the base must match an adapter that records its digest.

    Raises:
        ArtifactError: For a different base.
    """
    contents = {name: content_digest(base.folder / name) for name in base.files}
    if not adapter.is_of_source_system and base.inventory is not None:
        digest = digest_of_contents(contents)
        require_base(base.inventory, digest, adapter.adapter.header, adapter.where)
    own = {f"adapter/{path.name}": content_digest(path) for path in _sources(adapter)}
    found = own | {f"base/{name}": value for name, value in contents.items()}
    return {name: f"sha256:{found[name]}" for name in sorted(found)}


def _notes(
    request: QloraMergeRequest,
    adapter: FoundAdapter,
    base: SubsetBase,
    tensors: list[MergedTensor],
    onto: Onto,
) -> tuple[str, ...]:
    notes = []
    if request.onto is None:
        notes.append(say_merge.note_onto_default(onto.value))
    notes += [
        say_merge.note_subset_changes_table(tensor.source.name)
        for tensor in tensors
        if is_table(tensor)
    ]
    if not adapter.is_of_source_system and base.inventory is None:
        notes.append(say_merge.note_subset_base_unchecked())
    return tuple(notes)


def _sources(adapter: FoundAdapter) -> tuple[Path, ...]:
    sidecar = () if adapter.sidecar is None else (adapter.sidecar.path,)
    return (adapter.place.file, *sidecar)


def _base_name(adapter: FoundAdapter) -> str | None:
    header, sidecar = adapter.adapter.header, adapter.sidecar
    return header.base_name if sidecar is None else sidecar.facts.base_model


def _adapter_json(adapter: FoundAdapter, onto: Onto) -> dict[str, object]:
    lora = adapter.adapter.header.lora
    return {
        "rank": lora.rank,
        "alpha": lora.alpha,
        "scale": lora.scale,
        "modules": len(adapter.adapter.header.modules),
        "graph_id": graph_of(adapter),
        "onto": onto.value,
    }
