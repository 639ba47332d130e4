"""The steps of every merge, for adapters of either backend: check, write, verify. Needs torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from vox_populi.adapters.base import require_base
from vox_populi.adapters.header import AdapterHeader
from vox_populi.errors import (
    ArtifactError,
    MergeMismatchError,
)
from vox_populi.files.file_digest import content_digest, digest_of_contents
from vox_populi.files.output_guard import Reads, require_new_folder, require_room
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import pretty_json
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.merge.model_files import copied_files
from vox_populi.merge.number_type import number_types
from vox_populi.merge.receipt import (
    RECEIPT_FILE,
    UPDATE_TOLERANCE,
    MergeReceipt,
    NumberTypeChoice,
    TriedType,
)
from vox_populi.operator_messages import environment as say_environment
from vox_populi.operator_messages import merge as say_merge
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.machine_probe import require_threads
from vox_populi.pipeline.merge import MergeReport, MergeRequest, QloraMergeRequest
from vox_populi.pipeline.merge_output import Attempt, ModelWriter
from vox_populi.pipeline.merge_proof import MergeInputs, MergeProof
from vox_populi.train.allocator import keep_freed_memory
from vox_tensor.errors import Problem, VoxError

_MOST_THREADS = 8
_BESIDES_TENSORS = 64 * 2**20
"""Space for tokenizer, headers and receipt."""


def run_merge(inputs: MergeInputs, request: MergeRequest | QloraMergeRequest) -> MergeReport:
    """Write a merged model; it appears complete and verified, or not at all.

    Raises:
        VoxError: As `pipeline.merge.merge_weights` says; nothing was published.
    """
    require_threads(request.threads)
    started = time.perf_counter()
    sources = (inputs.inventory.model_dir, *_adapter_files(inputs))
    check_output(request, sources, inputs.graph.total_bytes)
    keep_freed_memory()
    threads = request.threads or most_threads()
    # Blocks are handed to threads; inside of one a product must not depend on their number.
    with on_device("cpu", 1), workers_of(threads) as workers, workers_of(2) as disk:
        read = _digests_of_inputs(inputs, workers)
        with StagedFolder.create(request.output, force=request.force) as staged:
            receipt = _build(request, inputs, read, staged, (workers, disk))
            kept = staged.publish()
    notes = (
        receipt.notes
        if kept is None
        else (*receipt.notes, say_merge.note_merge_kept_old(kept.name))
    )
    return MergeReport(
        output=request.output,
        receipt=receipt,
        notes=notes,
        seconds=time.perf_counter() - started,
    )


def check_output(
    request: MergeRequest | QloraMergeRequest, sources: Sequence[Path], tensor_bytes: int
) -> None:
    """Refuse an output path that cannot be used, before any weights are read.

    Raises:
        PreflightError: When it overlaps an input, or is not empty.
        EnvironmentFailure: When it cannot be written, or the disk is too small.
    """
    require_new_folder(request.output, Reads(whole=tuple(sources)), force=request.force)
    require_room(
        request.output, tensor_bytes + _BESIDES_TENSORS, say_environment.merge_disk_too_small
    )


def _digests_of_inputs(inputs: MergeInputs, workers: Executor) -> dict[str, str]:
    """Digest of every input file, by name; the base's must match the adapter's.

    Raises:
        ArtifactError: For a base other than the one the adapter was trained on.
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
    """Fill the staging folder and verify it; the receipt is written last."""
    trained = inputs.adapter.header
    header = trained.for_publishing(include_system_prompt=request.include_system_prompt)
    proof = MergeProof(inputs, pools[0])
    copied, notes = copied_files(inputs.inventory.model_dir, trained)
    writer = ModelWriter(request, inputs, header, copied, staged, pools)
    made, tried = _first_that_keeps(writer, proof)
    digests = {name: job.result() for name, job in made.written.digests.items()}
    digests |= {name: content_digest(path) for name, path in made.small.items()}
    graph = made.graph
    receipt = MergeReceipt(
        output_format=request.output_format.value,
        adapter=_adapter_facts(header),
        base={
            "name": header.base_name,
            "digest": header.base_digest,
            "model_type": header.model_type,
            "dtype": inputs.inventory.config.dtype,
        },
        changes=made.written.changes,
        n_tensors=len(graph.tensors),
        total_bytes=graph.total_bytes,
        is_head_tied=graph.is_head_tied,
        logits=made.verdict.logits,
        rows=made.verdict.rows,
        training_rows=made.verdict.training_rows,
        number_type=NumberTypeChoice(
            asked=request.dtype.value, written=made.kind.config_name, tried=tried
        ),
        read=read,
        written={name: f"sha256:{digests[name]}" for name in sorted(digests)},
        notes=(*inputs.notes, *notes, *_notes(made, tried)),
        qlora=made.verdict.qlora,
    )
    staged.write(RECEIPT_FILE, pretty_json(receipt.as_json()))
    return receipt


def _first_that_keeps(
    writer: ModelWriter, proof: MergeProof
) -> tuple[Attempt, tuple[TriedType, ...]]:
    """Try number types in turn until one keeps what was trained.

    Raises:
        ModelError: For a sum that even the last type cannot hold.
        ArtifactError: When the last one loses the whole update.
        MergeMismatchError: When the last one does not do the same as base and adapter.
    """
    inputs, tried = writer.inputs, []
    kinds = number_types(writer.request.dtype, inputs.inventory.config.dtype)
    for kind in kinds:
        is_last = kind is kinds[-1]
        made = writer.attempt(kind, proof, may_overflow=not is_last)
        if isinstance(made, TriedType):
            tried.append(made)
        else:
            problem = made.problem(inputs)
            is_enough = made.verdict.rows is not None or made.relative_error <= UPDATE_TOLERANCE
            if problem is None and (is_last or is_enough):
                return made, tuple(tried)
            if is_last:
                assert problem is not None, "a last one without a problem was returned"
                raise _refusal(problem)
            tried.append(_tried(made, problem))
            made.written.wait()
        writer.staged.clear()
    message = "there is always a last number type"
    raise AssertionError(message)


def _refusal(problem: Problem) -> VoxError:
    is_idle = problem.code == say_merge.merge_changed_nothing("", "").code
    return ArtifactError(problem) if is_idle else MergeMismatchError(problem)


def _tried(made: Attempt, problem: Problem | None) -> TriedType:
    rounded = say_merge.note_update_rounded(made.kind.config_name, made.relative_error)
    return TriedType(
        name=made.kind.config_name,
        relative_error=made.relative_error,
        rows=made.verdict.rows,
        reason=rounded if problem is None else problem.what,
    )


def _notes(made: Attempt, tried: Sequence[TriedType]) -> Iterator[str]:
    if tried:
        passed_over = " and ".join(each.name for each in tried)
        yield say_merge.note_wider_type(made.kind.config_name, passed_over)
    if made.verdict.rows is None:
        yield say_merge.note_no_check_rows()
        if made.relative_error > UPDATE_TOLERANCE:
            yield say_merge.note_update_rounded(made.kind.config_name, made.relative_error)


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


def most_threads() -> int:
    """Default number of threads of a merge."""
    return min(torch.get_num_threads(), _MOST_THREADS)


@contextmanager
def workers_of(count: int) -> Iterator[Executor]:
    """Worker threads with one compute thread each; pending work is dropped when something fails."""
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
