"""A whole merged model in one number type: written, read back, run. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path

from vox_populi.adapters.header import AdapterHeader
from vox_populi.errors import ModelError
from vox_populi.files.file_digest import content_digest
from vox_populi.files.new_file import sync_file
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import pretty_json, writing
from vox_populi.hf.companion_files import CARD_FILE, config_of, published_config
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.hf.saved_path import without_saved_path
from vox_populi.hf.weight_files import INDEX_NAME
from vox_populi.merge.choices import MergeFormat, MergeOutput
from vox_populi.merge.full_graph import MergedGraph
from vox_populi.merge.inputs import MergeInputs
from vox_populi.merge.merged_file import (
    MERGED_FILE,
    merged_metadata,
    read_merged_file,
    sign_merged_file,
)
from vox_populi.merge.model_files import merged_card
from vox_populi.merge.number_type import NumberType
from vox_populi.merge.prove import MergeProof, Verdict
from vox_populi.merge.published_tensors import published_tensors
from vox_populi.merge.receipt import TensorChange, TriedType, relative_error
from vox_populi.merge.shard_writer import (
    PlacedTensor,
    ShardPlan,
    WrittenShard,
    index_json,
    plan_file,
    plan_shards,
    write_shard,
)
from vox_populi.operator_messages import merge as say_merge
from vox_tensor.errors import Problem

Pools = tuple[Executor, Executor]
"""Threads that compute, and threads that write files to the disk."""


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """The weights in the staging folder."""

    changes: tuple[TensorChange, ...]
    """Changes in forward order."""
    digests: dict[str, Future[str]]
    """Digests by file; a digest is done when the file is synced to disk."""

    def wait(self) -> None:
        """Wait until everything is written."""
        wait(self.digests.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A model written in one number type, and the results of running it."""

    kind: NumberType
    graph: MergedGraph
    written: WrittenWeights
    small: dict[str, Path]
    """Other files by name."""
    verdict: Verdict

    @property
    def relative_error(self) -> float:
        """Relative rounding error of the whole update."""
        return relative_error(self.written.changes)

    def problem(self, inputs: MergeInputs) -> Problem | None:
        """Why it may not be published, if so."""
        where, dtype = inputs.where, self.kind.config_name
        if not any(change.is_changed for change in self.written.changes):
            return say_merge.merge_changed_nothing(dtype).at(where)
        return self.verdict.problem(where, dtype)


@dataclass(frozen=True, slots=True)
class ModelWriter:
    """Writes one model in any number type."""

    output: MergeOutput
    inputs: MergeInputs
    header: AdapterHeader
    """The adapter's header, as it may be published."""
    copied: Mapping[str, bytes]
    """Copied files by name."""
    staged: StagedFolder
    pools: Pools

    def attempt(
        self, kind: NumberType, proof: MergeProof, *, may_overflow: bool
    ) -> Attempt | TriedType:
        """Write and run the model; with `may_overflow`, a sum that does not fit is not an error."""
        inputs = self.inputs
        graph = _in_type(inputs.graph, kind)
        header, is_hf = self.header, self.output.output_format is MergeFormat.HF
        dtype = kind.config_name
        config = published_config(inputs.inventory, is_head_tied=graph.is_head_tied, dtype=dtype)
        shards = _plan(self.output, inputs.inventory, graph, header, config)
        try:
            written = write_weights(
                shards, inputs.inventory.model_dir, self.staged.path, self.pools
            )
        except ModelError as error:
            if may_overflow and error.problems[0].code == say_merge.merge_not_finite("", "").code:
                return TriedType(
                    name=dtype, relative_error=0.0, rows=None, reason=error.problems[0].what
                )
            raise
        small = dict(self.copied)
        if is_hf:
            small[CONFIG_NAME] = config
            onto = None if inputs.qlora is None else inputs.qlora.onto.value
            small[CARD_FILE] = merged_card(header, inputs.inventory, written.changes, dtype, onto)
            index = index_json(shards)
            if index is not None:
                small[INDEX_NAME] = pretty_json(index)
        return Attempt(
            kind=kind,
            graph=graph,
            written=written,
            small={
                name: self.staged.write(name, without_saved_path(name, data))
                for name, data in sorted(small.items())
            },
            verdict=proof.judge(self._read_back(), self._other(kind)),
        )

    def _read_back(self) -> ModelInventory:
        if self.output.output_format is MergeFormat.HF:
            return read_inventory(self.staged.path, source=self.inputs.inventory.config.source)
        return read_merged_file(self.staged.path / MERGED_FILE, verify=False).inventory

    def _other(self, kind: NumberType) -> MergedGraph | None:
        side = self.inputs.qlora
        return None if side is None or side.other is None else _in_type(side.other, kind)


def _in_type(graph: MergedGraph, kind: NumberType) -> MergedGraph:
    return graph if kind.stored_name is None else graph.in_number_type(kind.stored_name)


def _plan(
    output: MergeOutput,
    inventory: ModelInventory,
    graph: MergedGraph,
    header: AdapterHeader,
    config: bytes,
) -> tuple[ShardPlan, ...]:
    if output.output_format is MergeFormat.HF:
        return plan_shards(list(published_tensors(inventory, graph)), output.max_shard_bytes)
    named = [PlacedTensor.of(tensor.key.ours, tensor) for tensor in graph.tensors]
    return (plan_file(MERGED_FILE, named, merged_metadata(config_of(config), header)),)


def write_weights(
    shards: Sequence[ShardPlan], base: Path, folder: Path, pools: Pools
) -> WrittenWeights:
    """Write one file per thread; each is synced to disk while others are computed."""
    workers, disk = pools
    jobs = [workers.submit(write_shard, shard, base, folder) for shard in shards]
    changes: list[TensorChange] = []
    digests: dict[str, Future[str]] = {}
    try:
        for job in jobs:
            written = job.result()
            changes += written.changes
            digests[written.path.name] = disk.submit(_finish_file, written)
    except BaseException:
        # Nobody writes into the folder any more when somebody empties it.
        for job in jobs:
            job.cancel()
        wait(jobs)
        wait(digests.values())
        raise
    return WrittenWeights(tuple(changes), digests)


def _finish_file(written: WrittenShard) -> str:
    """Sync a file to disk and return its digest; our merged models are signed first."""
    digest = written.digest
    with writing(written.path):
        if written.path.name == MERGED_FILE:
            sign_merged_file(written.path)
            digest = content_digest(written.path)
        sync_file(written.path)
    return digest
