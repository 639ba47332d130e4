"""The steps of every merge, for adapters of any backend: digests, the merged model, the receipt.

A whole model is written in one number type after another until one keeps what was trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from vox_populi.adapters.base import require_base
from vox_populi.adapters.header import AdapterHeader
from vox_populi.errors import ArtifactError, MergeMismatchError
from vox_populi.files.file_digest import content_digest, digest_of_contents
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import pretty_json
from vox_populi.merge.choices import MergeFormat, MergeOutput
from vox_populi.merge.inputs import MergeInputs
from vox_populi.merge.model_files import copied_files
from vox_populi.merge.number_type import number_types
from vox_populi.merge.prove import MergeProof
from vox_populi.merge.receipt import UPDATE_TOLERANCE, MergeReceipt, NumberTypeChoice, TriedType
from vox_populi.merge.served_text import (
    ServedFiles,
    base_ends_of,
    served_files,
    served_text,
)
from vox_populi.merge.serving_handoff import HANDOFF_FILE, ServedArtifact, handoff
from vox_populi.merge.subset import SubsetInputs
from vox_populi.merge.write import Attempt, ModelWriter, Pools
from vox_populi.operator_messages import merge as say_merge
from vox_tensor.errors import Problem, VoxError

_MOST_THREADS = 8


def digests_of_inputs(inputs: MergeInputs | SubsetInputs, workers: Executor) -> dict[str, str]:
    """Digest of every file that is read, by name; our adapters record the digest of their base.

    Raises:
        ArtifactError: For a base other than the one the adapter was trained on.
    """
    found, folder = inputs.found, inputs.folder
    jobs = {name: workers.submit(content_digest, folder / name) for name in inputs.base_files}
    own = {path.name: workers.submit(content_digest, path) for path in found.files}
    contents = {name: job.result() for name, job in jobs.items()}
    header, inventory = found.adapter.header, inputs.inventory
    is_known = header.base_digest or not found.is_of_source_system
    if is_known and inventory is not None:
        require_base(inventory, digest_of_contents(contents), header, found.where)
    return {
        **{f"adapter/{name}": f"sha256:{job.result()}" for name, job in own.items()},
        **{f"base/{name}": f"sha256:{value}" for name, value in sorted(contents.items())},
    }


def merge_model(
    inputs: MergeInputs,
    output: MergeOutput,
    read: Mapping[str, str],
    staged: StagedFolder,
    pools: Pools,
) -> MergeReceipt:
    """Fill the staging folder with a whole model, and prove it.

    Raises:
        VoxError: As `pipeline.merge.merge_weights` says.
    """
    trained = inputs.adapter.header
    header = trained.for_publishing(include_system_prompt=output.include_system_prompt)
    proof = MergeProof(inputs, pools[0])
    copied, notes = copied_files(inputs.folder, trained)
    text = _text_files(inputs, output, header, copied)
    writer = ModelWriter(output, inputs, header, text.files, staged, pools)
    attempt, tried = _first_that_keeps(writer, proof)
    digests = {name: job.result() for name, job in attempt.written.digests.items()}
    digests |= {name: content_digest(path) for name, path in attempt.small.items()}
    graph, is_folder = attempt.graph, output.output_format is MergeFormat.HF
    others = inputs.inventory.others if is_folder else {}
    if is_folder:
        files = {name: f"sha256:{digest}" for name, digest in digests.items()}
        ends = base_ends_of(copied, inputs.inventory.config.eos_ids)
        base = inputs.inventory.model_dir
        served = None if output.keep_base_text else served_text(header, ends, base)
        artifact = ServedArtifact(
            backend_family="hf-transformers",
            files=files,
            dtype=attempt.kind.config_name,
            max_positions=inputs.inventory.config.max_positions,
        )
        document = handoff(header, artifact, served, ends)
        path = staged.write(HANDOFF_FILE, pretty_json(document))
        digests[HANDOFF_FILE] = content_digest(path)
    return MergeReceipt(
        output_format=output.output_format.value,
        adapter=_adapter_facts(header),
        base={
            "name": header.base_name,
            "digest": header.base_digest,
            "model_type": header.model_type,
            "dtype": inputs.inventory.config.dtype,
        },
        changes=attempt.written.changes,
        n_tensors=len(graph.tensors) + len(others),
        total_bytes=graph.total_bytes + sum(info.n_bytes for info in others.values()),
        is_head_tied=graph.is_head_tied,
        logits=attempt.verdict.logits,
        rows=attempt.verdict.rows,
        training_rows=attempt.verdict.training_rows,
        number_type=NumberTypeChoice(
            asked=output.dtype.value, written=attempt.kind.config_name, tried=tried
        ),
        read=read,
        written={name: f"sha256:{digests[name]}" for name in sorted(digests)},
        notes=(*inputs.notes, *notes, *text.notes, *_notes(attempt, tried)),
        served_text=text.receipt,
        qlora=attempt.verdict.qlora,
    )


def _text_files(
    inputs: MergeInputs, output: MergeOutput, header: AdapterHeader, copied: Mapping[str, bytes]
) -> ServedFiles:
    """The small files of the output; only a folder for other programs serves what was trained."""
    if output.keep_base_text or output.output_format is not MergeFormat.HF:
        return ServedFiles.of_base(copied)
    return served_files(copied, header, inputs.inventory)


def _first_that_keeps(
    writer: ModelWriter, proof: MergeProof
) -> tuple[Attempt, tuple[TriedType, ...]]:
    """Try number types in turn until one keeps what was trained.

    Raises:
        ModelError: For a sum that even the last type cannot hold.
        ArtifactError: When the last one loses the whole update.
        MergeMismatchError: When the last one computes something else than base and adapter.
    """
    inputs, tried = writer.inputs, []
    kinds = number_types(writer.output.dtype, inputs.inventory.config.dtype)
    for kind in kinds:
        is_last = kind is kinds[-1]
        attempt = writer.attempt(kind, proof, may_overflow=not is_last)
        if isinstance(attempt, TriedType):
            tried.append(attempt)
        else:
            problem = attempt.problem(inputs)
            is_enough = (
                attempt.verdict.rows is not None or attempt.relative_error <= UPDATE_TOLERANCE
            )
            if problem is None and (is_last or is_enough):
                return attempt, tuple(tried)
            if is_last:
                assert problem is not None, "a last one without a problem was returned"
                raise _refusal(problem)
            tried.append(_tried(attempt, problem))
            attempt.written.wait()
        writer.staged.clear()
    message = "there is always a last number type"
    raise AssertionError(message)


def _refusal(problem: Problem) -> VoxError:
    is_idle = problem.code == say_merge.merge_changed_nothing("").code
    return ArtifactError(problem) if is_idle else MergeMismatchError(problem)


def _tried(attempt: Attempt, problem: Problem | None) -> TriedType:
    rounded = say_merge.note_update_rounded(attempt.kind.config_name, attempt.relative_error)
    return TriedType(
        name=attempt.kind.config_name,
        relative_error=attempt.relative_error,
        rows=attempt.verdict.rows,
        reason=rounded if problem is None else problem.what,
    )


def _notes(attempt: Attempt, tried: Sequence[TriedType]) -> Iterator[str]:
    if tried:
        passed_over = " and ".join(each.name for each in tried)
        yield say_merge.note_wider_type(attempt.kind.config_name, passed_over)
    if attempt.verdict.rows is None:
        yield say_merge.NOTE_NO_CHECK_ROWS
        if attempt.relative_error > UPDATE_TOLERANCE:
            yield say_merge.note_update_rounded(attempt.kind.config_name, attempt.relative_error)


def _adapter_facts(header: AdapterHeader) -> dict[str, object]:
    return {
        "rank": header.lora.rank,
        "alpha": header.lora.alpha,
        "scale": header.lora.scale,
        "use_rslora": header.lora.use_rslora,
        "modules": len(header.modules),
        "step": header.step,
        "contract_digest": header.contract_digest,
        **header.text_json(),
        "system_prompt_withheld": header.withholds_system_prompt,
        **({} if header.layout is None else {"layout": header.layout.as_json()}),
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
