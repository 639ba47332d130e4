"""`merge-qlora --subset`: the tensors that an adapter changes, and nothing else. Needs torch.

What comes out is a part of a model, in float32, under the base's own names: for whoever puts it
into a model themselves, as users of the source system do.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch

from vox_populi import operator_messages as say
from vox_populi.artifacts.adapter_facts import AdapterFacts
from vox_populi.artifacts.adapter_header import Quantization
from vox_populi.artifacts.adapter_sidecar import Sidecar
from vox_populi.artifacts.adapter_v3 import (
    QLORA_ADAPTER_FILE,
    SourceAdapter,
    read_qlora_adapter,
)
from vox_populi.artifacts.base_location import find_base
from vox_populi.artifacts.logical_names import logical_names
from vox_populi.artifacts.source_layers import SOURCE_BLOCK_SIZE, canonical_key, embedding_key
from vox_populi.artifacts.whole_file import pretty_json
from vox_populi.errors import ArtifactError, ConfigError, EnvironmentFailure
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.file_digest import content_digest
from vox_populi.hf.inventory import READABLE_DTYPES, ModelInventory, base_digest, read_inventory
from vox_populi.hf.keymap import TensorKey, tensor_keys
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.hf.safetensors_header import TensorInfo, read_header
from vox_populi.merge.file_ranges import sync_file
from vox_populi.merge.full_graph import LowRankUpdate, MergedTensor
from vox_populi.merge.receipt import RECEIPT_FILE, MergeReceipt
from vox_populi.merge.rounded_weight import RoundedWeight
from vox_populi.merge.shard_writer import plan_file, write_shard
from vox_populi.merge.staged_folder import StagedFolder
from vox_populi.model.nf4_load import Nf4Settings
from vox_populi.operator_messages import merge_qlora
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.merge_report import MergeReport
from vox_populi.pipeline.merge_steps import check_output
from vox_populi.pipeline.requests import MergeFormat, Onto, QloraMergeRequest
from vox_tensor.errors import Problem

SUBSET_FILE = "merged_subset.safetensors"
SUBSET_FORMAT = "subset"

_GPT2_CONV1D = re.compile(
    r"(transformer\.)?h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """Where base tensors lie, by the names they are stored under."""

    folder: Path
    tensors: Mapping[str, TensorInfo]
    files: tuple[str, ...]
    inventory: ModelInventory | None
    """Of a folder with a config; without one, names and shapes are all there is."""


def merge_subset(request: QloraMergeRequest, sidecar: Sidecar) -> MergeReport:
    """Write `base + scale * B @ A` of every layer of the adapter, in float32.

    Raises:
        VoxError: As `pipeline.dispatch.merge_qlora` says; nothing was published.
    """
    started = time.perf_counter()
    if request.output_format is MergeFormat.VOX:
        raise ConfigError(merge_qlora.subset_no_format("--format"))
    onto = request.onto or Onto.ORIGINAL
    adapter = request.adapter
    base = _find_base(request, sidecar)
    _require_same_base(base, sidecar, adapter)
    tensors = _merged_tensors(request, sidecar, base, onto)
    total = sum(tensor.n_bytes for tensor in tensors)
    check_output(request, (base.folder, adapter), total)
    notes = () if request.onto else (merge_qlora.note_onto_default(onto.value),)
    with on_device("cpu", 1), StagedFolder.create(request.output, force=request.force) as staged:
        shard = plan_file(SUBSET_FILE, [(tensor.key.theirs, tensor) for tensor in tensors], {})
        written = write_shard(shard, base.folder, staged.path)
        if not any(change.is_changed for change in written.changes):
            raise ArtifactError(say.merge_adapter_is_no_op(str(adapter)))
        try:
            sync_file(written.path)
        except OSError as error:
            raise EnvironmentFailure(say.file_not_written(str(written.path), error)) from error
        receipt = MergeReceipt(
            output_format=SUBSET_FORMAT,
            adapter=_adapter_json(sidecar.facts, onto),
            base={"name": sidecar.facts.base_model, "dtype": "float32"},
            changes=written.changes,
            n_tensors=len(tensors),
            total_bytes=total,
            is_head_tied=False,
            logits=None,
            read=_digests(base, adapter, sidecar),
            written={SUBSET_FILE: f"sha256:{written.digest}"},
            notes=notes,
        )
        staged.write(RECEIPT_FILE, pretty_json(receipt.as_json()))
        kept = staged.publish()
    if kept is not None:
        notes = (*notes, say.note_merge_kept_old(kept.name))
    return MergeReport(
        output=request.output,
        receipt=receipt,
        notes=notes,
        seconds=time.perf_counter() - started,
    )


def _find_base(request: QloraMergeRequest, sidecar: Sidecar) -> _Base:
    """The base that the request names, or that of the run: a folder, or one of its files."""
    path = request.base or find_base(sidecar.path.parent)
    if path is None and sidecar.facts.base_model == EMBEDDED_NAME:
        path = embedded_model_dir()
    if path is None:
        raise ArtifactError(merge_qlora.base_not_found(str(request.adapter)))
    if path.is_dir() and (path / CONFIG_NAME).exists():
        inventory = read_inventory(path, complete=False, allow_nf4=True)
        return _Base(
            folder=path,
            tensors=inventory.tensors,
            files=(CONFIG_NAME, *inventory.shards),
            inventory=inventory,
        )
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise ArtifactError(merge_qlora.base_has_no_weights(str(path)))
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for name, info in read_header(file).tensors.items():
            tensors.setdefault(name, info)
    return _Base(
        folder=files[0].parent,
        tensors=tensors,
        files=tuple(file.name for file in files),
        inventory=None,
    )


def _require_same_base(base: _Base, sidecar: Sidecar, adapter: Path) -> None:
    """An adapter of ours knows the digest of its base."""
    if sidecar.ours is None or base.inventory is None:
        return
    header = sidecar.ours.header
    if base_digest(base.inventory) != header.base_digest:
        raise ArtifactError(
            say.adapter_not_for_base(
                str(adapter), header.base_name, header.base_digest, str(base.folder)
            )
        )


def _merged_tensors(
    request: QloraMergeRequest, sidecar: Sidecar, base: _Base, onto: Onto
) -> list[MergedTensor]:
    facts, where = sidecar.facts, str(base.folder)
    if onto is Onto.DEQUANT and base.inventory is None:
        raise ArtifactError(merge_qlora.subset_needs_full_base(where))
    halves = _halves(request, sidecar)
    problems: list[Problem] = []
    tensors = []
    for name in facts.layer_order:
        found = _stored(facts.base_key_map[name], base)
        if isinstance(found, str):
            near = next(iter(get_close_matches(found, list(base.tensors), n=1)), None)
            problems.append(merge_qlora.subset_key_missing(where, name, found, near))
            continue
        key, info = found
        a_RI, b_OR = halves[name]
        update = LowRankUpdate(a_RI, b_OR, facts.scale, key.transposed)
        shape = (b_OR.shape[0], a_RI.shape[1])
        expected = shape[::-1] if key.transposed else shape
        problems += _misfits(where, info, expected)
        rounded = _rounded(sidecar, base, key) if onto is Onto.DEQUANT else None
        tensors.append(MergedTensor(key, info, update, rounded, "F32"))
    if problems:
        raise ArtifactError(*say.capped(problems))
    return tensors


def _stored(stated: str, base: _Base) -> tuple[TensorKey, TensorInfo] | str:
    """A base tensor with its orientation; the name that was looked for when there is none."""
    if base.inventory is None:
        info = base.tensors.get(stated)
        if info is None:
            return stated
        is_conv1d = _GPT2_CONV1D.match(stated) is not None
        return TensorKey(stated, stated, info.shape, transposed=is_conv1d, required=True), info
    config = base.inventory.config
    name = canonical_key(stated, config)
    if name == "lm_head.weight" and name not in base.tensors:
        name = embedding_key(config)
    key = next((each for each in tensor_keys(config) if each.theirs == name), None)
    found = base.tensors.get(name)
    return (key, found) if key is not None and found is not None else name


def _misfits(where: str, info: TensorInfo, expected: tuple[int, ...]) -> Iterator[Problem]:
    if info.shape != expected:
        yield merge_qlora.subset_misshaped(where, info.name, info.shape, expected)
    if info.dtype not in READABLE_DTYPES:
        yield merge_qlora.subset_dtype_unsupported(where, info.name, info.dtype)


def _halves(
    request: QloraMergeRequest, sidecar: Sidecar
) -> Mapping[str, tuple[torch.Tensor, torch.Tensor]]:
    """A `[R, I]` and B `[O, R]` of each layer by its logical name."""
    adapter = read_qlora_adapter(request.adapter, request.meta)
    if isinstance(adapter, SourceAdapter):
        tensors = adapter.tensors
        return {
            name: (tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"])
            for name in sidecar.facts.layer_order
        }
    header = adapter.header
    return {
        logical: (adapter.tensors[f"{ours}.lora_A"], adapter.tensors[f"{ours}.lora_B"])
        for ours, logical in logical_names(header.graph, header.modules).items()
    }


def _rounded(sidecar: Sidecar, base: _Base, key: TensorKey) -> RoundedWeight:
    assert base.inventory is not None, "a base without a config was refused"
    stated = _quantization(sidecar)
    settings = Nf4Settings(block_size=stated.block_size, double_quant=stated.double_quant)
    return RoundedWeight(base.inventory, key, settings)


def _quantization(sidecar: Sidecar) -> Quantization:
    if sidecar.ours is not None and sidecar.ours.header.quantization is not None:
        return sidecar.ours.header.quantization
    return Quantization(
        block_size=SOURCE_BLOCK_SIZE,
        double_quant=sidecar.facts.double_quant,
        compute_dtype="f32",
    )


def _digests(base: _Base, adapter: Path, sidecar: Sidecar) -> dict[str, str]:
    file = adapter / QLORA_ADAPTER_FILE if adapter.is_dir() else adapter
    files = {f"adapter/{path.name}": path for path in (file, sidecar.path)}
    files |= {f"base/{name}": base.folder / name for name in base.files}
    return {name: f"sha256:{content_digest(path)}" for name, path in sorted(files.items())}


def _adapter_json(facts: AdapterFacts, onto: Onto) -> dict[str, object]:
    return {
        "rank": facts.rank,
        "alpha": facts.alpha,
        "scale": facts.scale,
        "modules": len(facts.layer_order),
        "graph_id": facts.graph,
        "onto": onto.value,
    }
