"""What every merge does, whatever trained the adapter: check, write, prove. Needs torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from vox_populi import operator_messages as say
from vox_populi.artifacts.adapter_header import AdapterHeader
from vox_populi.artifacts.checkpoint_file import AdapterFile
from vox_populi.artifacts.merged_file import (
    MERGED_FILE,
    merged_metadata,
    read_merged_file,
    sign_merged_file,
)
from vox_populi.artifacts.whole_file import pretty_json
from vox_populi.errors import (
    ArtifactError,
    EnvironmentFailure,
    MergeMismatchError,
)
from vox_populi.files.new_file import sync_file
from vox_populi.files.output_guard import Reads, require_new_folder, require_room
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.hf.file_digest import content_digest, digest_of_contents
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import AdapterModule
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.hf.weight_files import INDEX_NAME
from vox_populi.merge.full_graph import MergedGraph
from vox_populi.merge.logit_check import QloraMerge, check_logits, check_qlora_logits
from vox_populi.merge.model_files import (
    CARD_FILE,
    config_of,
    copied_files,
    merged_card,
    merged_config,
)
from vox_populi.merge.receipt import (
    RECEIPT_FILE,
    LogitCheck,
    MergeReceipt,
    QloraReceipt,
    TensorChange,
)
from vox_populi.merge.rounded_weight import TrainedBase
from vox_populi.merge.saved_path import without_saved_path
from vox_populi.merge.shard_writer import (
    ShardPlan,
    WrittenShard,
    index_json,
    plan_file,
    plan_shards,
    write_shard,
)
from vox_populi.pipeline.adapter_base import require_base
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.machine_probe import require_threads
from vox_populi.pipeline.merge_report import MergeReport
from vox_populi.pipeline.requests import MergeFormat, MergeRequest, Onto, QloraMergeRequest
from vox_populi.train.allocator import keep_freed_memory

_MOST_THREADS = 8
_BESIDES_TENSORS = 64 * 2**20
"""Room for tokenizer, headers and receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QloraSide:
    """What a merge must know of an adapter that was trained on rounded weights."""

    trained: TrainedBase
    onto: Onto
    other: MergedGraph | None
    """The merge onto the other weights; `None` where the base has no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeInputs:
    """What is read, checked to belong together; nothing is written yet."""

    checkpoint: Path
    """The adapter's file."""
    sidecars: tuple[Path, ...] = ()
    """Read with it."""
    adapter: AdapterFile
    inventory: ModelInventory
    modules: tuple[AdapterModule, ...]
    graph: MergedGraph
    qlora: QloraSide | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Written:
    """The weights in the staging folder."""

    changes: tuple[TensorChange, ...]
    """In forward order."""
    digests: dict[str, Future[str]]
    """By file; done when the file is on the disk as well."""


def run_merge(inputs: MergeInputs, request: MergeRequest | QloraMergeRequest) -> MergeReport:
    """Write a merged model; it appears complete and proved, or not at all.

    Raises:
        VoxError: As `pipeline.dispatch.merge_weights` says; nothing was published.
    """
    require_threads(request.threads)
    started = time.perf_counter()
    sources = (inputs.inventory.model_dir, *_adapter_files(inputs))
    check_output(request, sources, inputs.graph.total_bytes)
    keep_freed_memory()
    threads = request.threads or min(torch.get_num_threads(), _MOST_THREADS)
    # Blocks are handed to threads; inside of one a product must not depend on their number.
    with on_device("cpu", 1), workers_of(threads) as workers, workers_of(2) as disk:
        read = _digests_of_inputs(inputs, workers)
        with StagedFolder.create(request.output, force=request.force) as staged:
            receipt = _build(request, inputs, read, staged, (workers, disk))
            kept = staged.publish()
    notes = receipt.notes if kept is None else (*receipt.notes, say.note_merge_kept_old(kept.name))
    return MergeReport(
        output=request.output,
        receipt=receipt,
        notes=notes,
        seconds=time.perf_counter() - started,
    )


def check_output(
    request: MergeRequest | QloraMergeRequest, sources: Sequence[Path], tensor_bytes: int
) -> None:
    """Refuse a place where the output cannot go, before any weight is read.

    Raises:
        PreflightError: When it overlaps what is read, or holds something.
        EnvironmentFailure: When it cannot be written, or the disk is too small.
    """
    require_new_folder(request.output, Reads(whole=tuple(sources)), force=request.force)
    require_room(request.output, tensor_bytes + _BESIDES_TENSORS, say.merge_disk_too_small)


def _digests_of_inputs(inputs: MergeInputs, workers: Executor) -> dict[str, str]:
    """Digest of every file that is read, by name; the base's must be the adapter's.

    Raises:
        ArtifactError: For another base than the adapter was trained on.
    """
    inventory, header = inputs.inventory, inputs.adapter.header
    names = (CONFIG_NAME, *inventory.shards)
    jobs = {name: workers.submit(content_digest, inventory.model_dir / name) for name in names}
    own = {path.name: workers.submit(content_digest, path) for path in _adapter_files(inputs)}
    contents = {name: job.result() for name, job in jobs.items()}
    digest = digest_of_contents(contents)
    require_base(inventory, digest, header, str(inputs.checkpoint))
    return {
        **{f"adapter/{name}": f"sha256:{job.result()}" for name, job in own.items()},
        **{f"base/{name}": f"sha256:{value}" for name, value in sorted(contents.items())},
    }


def _adapter_files(inputs: MergeInputs) -> tuple[Path, ...]:
    return (inputs.checkpoint, *inputs.sidecars)


def _build(
    request: MergeRequest | QloraMergeRequest,
    inputs: MergeInputs,
    read: dict[str, str],
    staged: StagedFolder,
    pools: tuple[Executor, Executor],
) -> MergeReceipt:
    """Fill the staging folder and prove it; the receipt is written last."""
    inventory, graph = inputs.inventory, inputs.graph
    trained = inputs.adapter.header
    header = trained.for_publishing(include_system_prompt=request.include_system_prompt)
    config = merged_config(inventory, is_head_tied=graph.is_head_tied)
    shards = _plan(request, graph, header, config)
    small, notes = copied_files(inventory.model_dir, trained)
    written = _write_weights(shards, inventory.model_dir, staged.path, pools)
    _refuse_unchanged(written.changes, inputs)
    if request.output_format is MergeFormat.HF:
        small[CONFIG_NAME] = config
        onto = None if inputs.qlora is None else inputs.qlora.onto.value
        small[CARD_FILE] = merged_card(header, inventory, written.changes, onto)
        index = index_json(shards)
        if index is not None:
            small[INDEX_NAME] = pretty_json(index)
    paths = {
        name: staged.write(name, without_saved_path(name, data))
        for name, data in sorted(small.items())
    }
    logits, qlora = _prove(request, inputs, staged, pools[0])
    digests = {name: job.result() for name, job in written.digests.items()}
    digests |= {name: content_digest(path) for name, path in paths.items()}
    receipt = MergeReceipt(
        output_format=request.output_format.value,
        adapter=_adapter_facts(header),
        base={
            "name": header.base_name,
            "digest": header.base_digest,
            "model_type": header.model_type,
            "dtype": inventory.config.dtype,
        },
        changes=written.changes,
        n_tensors=len(graph.tensors),
        total_bytes=graph.total_bytes,
        is_head_tied=graph.is_head_tied,
        logits=logits,
        read=read,
        written={name: f"sha256:{digests[name]}" for name in sorted(digests)},
        notes=(*inputs.notes, *notes),
        qlora=qlora,
    )
    staged.write(RECEIPT_FILE, pretty_json(receipt.as_json()))
    return receipt


def _plan(
    request: MergeRequest | QloraMergeRequest,
    graph: MergedGraph,
    header: AdapterHeader,
    config: bytes,
) -> tuple[ShardPlan, ...]:
    if request.output_format is MergeFormat.HF:
        return plan_shards(graph.tensors, request.max_shard_bytes)
    named = [(tensor.key.ours, tensor) for tensor in graph.tensors]
    return (plan_file(MERGED_FILE, named, merged_metadata(config_of(config), header)),)


def _write_weights(
    shards: Sequence[ShardPlan], base: Path, folder: Path, pools: tuple[Executor, Executor]
) -> _Written:
    """Write one file a thread; each is put on the disk while others are computed."""
    workers, disk = pools
    jobs = [workers.submit(write_shard, shard, base, folder) for shard in shards]
    changes: list[TensorChange] = []
    digests: dict[str, Future[str]] = {}
    try:
        for job in jobs:
            written = job.result()
            changes += written.changes
            digests[written.path.name] = disk.submit(_finish_file, written)
    finally:
        # Nobody writes into the folder any more when a failure empties it.
        for job in jobs:
            job.cancel()
        wait(jobs)
    return _Written(tuple(changes), digests)


def _finish_file(written: WrittenShard) -> str:
    """Put a file on the disk; its digest. A merged model of ours gets its own one inside first."""
    digest = written.digest
    try:
        if written.path.name == MERGED_FILE:
            sign_merged_file(written.path)
            digest = content_digest(written.path)
        sync_file(written.path)
    except OSError as error:
        raise EnvironmentFailure(say.file_not_written(str(written.path), error)) from error
    return digest


def _refuse_unchanged(changes: Sequence[TensorChange], inputs: MergeInputs) -> None:
    if any(change.is_changed for change in changes):
        return
    where, dtype = str(inputs.checkpoint), inputs.inventory.config.dtype
    raise ArtifactError(say.merge_changed_nothing(where, dtype))


def _prove(
    request: MergeRequest | QloraMergeRequest,
    inputs: MergeInputs,
    staged: StagedFolder,
    workers: Executor,
) -> tuple[LogitCheck, QloraReceipt | None]:
    """Read the output as anyone would, and compare what it computes.

    Raises:
        MergeMismatchError: For a difference that rounding does not explain.
    """
    if request.output_format is MergeFormat.HF:
        merged = read_inventory(staged.path)
    else:
        merged = read_merged_file(staged.path / MERGED_FILE, verify=False).inventory
    if inputs.qlora is None:
        logits = check_logits(inputs.inventory, merged, inputs.adapter, inputs.modules, workers)
        qlora = None
    else:
        logits, qlora = _prove_qlora(inputs, inputs.qlora, merged, workers)
    if not logits.is_within:
        found, allowed = f"{logits.max_difference:.3g}", f"{logits.allowed:.3g}"
        where = str(inputs.checkpoint)
        raise MergeMismatchError(say.merge_differs_from_adapter(where, found, allowed))
    return logits, qlora


def _prove_qlora(
    inputs: MergeInputs, side: QloraSide, merged: ModelInventory, workers: Executor
) -> tuple[LogitCheck, QloraReceipt]:
    merge = QloraMerge(
        adapter=inputs.adapter,
        modules=inputs.modules,
        trained=side.trained,
        onto_trained=side.onto is Onto.DEQUANT,
        other=side.other,
    )
    logits, own, other = check_qlora_logits(merge, merged, workers)
    distances = {side.onto.value: own}
    if other is not None:
        distances[next(each for each in Onto if each is not side.onto).value] = other
    header = inputs.adapter.header
    assert header.quantization is not None, "a QLoRA adapter says how its base was held"
    return logits, QloraReceipt(
        onto=side.onto.value,
        graph=header.graph,
        quantization=asdict(header.quantization),
        rounded_tensors=len(side.trained.rounded),
        distances={name: distances[name] for name in sorted(distances)},
    )


def _adapter_facts(header: AdapterHeader) -> dict[str, object]:
    return {
        "rank": header.lora.rank,
        "alpha": header.lora.alpha,
        "scale": header.lora.scale,
        "use_rslora": header.lora.use_rslora,
        "modules": len(header.modules),
        "step": header.step,
        "contract_digest": header.contract_digest,
        "tokenizer": header.tokenizer.value,
        "tokenizer_digest": header.tokenizer_digest,
        "template": header.template.value,
        "template_digest": header.template_digest,
        "system_prompt": header.system_prompt,
        "system_prompt_withheld": header.withholds_system_prompt,
        "seq_len": header.seq_len,
    }


@contextmanager
def workers_of(count: int) -> Iterator[Executor]:
    """Threads that compute with one thread each; what waits is dropped when something fails."""
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
