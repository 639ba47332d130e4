"""QLoRA adapters, one writer and one reader: a safetensors file, sidecars of version 2 and 3.

Tensors are `<layer>.lora_a` `[R, I]` and `<layer>.lora_b` `[O, R]`, float32, under the layers'
logical names; the update of a weight is scale x B A. Shape letters: R rank, I inputs, O outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.adapters.v3.burn_bin import header_of_qlora
from vox_populi.adapters.v3.facts import AdapterFacts
from vox_populi.adapters.v3.manifest import (
    MANIFEST_V3_FILE,
    OurManifest,
    V3Facts,
    adapter_facts,
    our_manifest_json,
)
from vox_populi.adapters.v3.names import (
    HALVES,
    LORA_ADAPTER_FILE,
    QLORA_ADAPTER_FILE,
    logical_names,
    v3_file,
)
from vox_populi.adapters.v3.sidecar import Sidecar, find_sidecar
from vox_populi.adapters.v3.version2 import META_V2_FILE, facts_to_v2, meta_v2_json
from vox_populi.containers.safetensors_header import SafetensorsHeader, TensorInfo
from vox_populi.containers.tensor_comparison import tensor_differences, tensor_problem
from vox_populi.containers.tensor_container import container_chunks
from vox_populi.containers.tensor_reader import not_finite, read_tensors
from vox_populi.contract.choices import GraphId
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.file_digest import content_digest
from vox_populi.files.whole_file import Chunk, pretty_json, write_whole
from vox_populi.operator_messages import adapter as say
from vox_populi.operator_messages.tensors import (
    LORA_BIN,
    SIDECAR,
    tensor_misshaped,
    tensor_not_finite,
)
from vox_populi.operator_messages.wording import capped
from vox_tensor.errors import Problem
from vox_tensor.lora_spec import LoraSpec

_SUFFIX = ".weight"


def write_qlora_adapter(
    folder: Path, header: AdapterHeader, tensors: Mapping[str, Tensor], facts: V3Facts
) -> tuple[Path, ...]:
    """Write the files of an adapter, the manifest last; the same adapter gives the same bytes.

    An adapter without quantisation has the method lora, and no sidecar of version 2.

    Args:
        folder: Must exist; files of these names are replaced.
        header: Must describe exactly these tensors.
        tensors: Float32 CPU tensors under our names.
        facts: What the header lacks.

    Raises:
        EnvironmentFailure: When the system refuses; no torn file is left.
        ValueError: For tensors that the header does not describe, and modules that have no
            logical names.
    """
    paths = []
    for name, chunks in qlora_adapter_files(header, tensors, facts).items():
        write_whole(folder / name, *chunks)
        paths.append(folder / name)
    return tuple(paths)


def qlora_adapter_files(
    header: AdapterHeader, tensors: Mapping[str, Tensor], facts: V3Facts
) -> dict[str, list[Chunk]]:
    """The bytes of an adapter's files by name, in the order in which they are to be written.

    Raises:
        ValueError: As `write_qlora_adapter`.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != header.tensor_shapes():
        message = "header and tensors describe different adapters"
        raise ValueError(message)
    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        message = "adapter tensors must be float32"
        raise ValueError(message)
    said = adapter_facts(header, facts)
    names = logical_names(header.graph, header.modules)
    named = {
        names[module.ours] + theirs: tensors[module.ours + ours]
        for module in header.modules
        for theirs, ours in HALVES
    }
    # No metadata: the source system's files have none.
    chunks = container_chunks(named, {})
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    manifest = our_manifest_json(header, facts, digest.hexdigest())
    if said.method != "qlora":
        return {LORA_ADAPTER_FILE: chunks, MANIFEST_V3_FILE: [pretty_json(manifest)]}
    meta = meta_v2_json(facts_to_v2(said, Path(MANIFEST_V3_FILE)))
    return {
        QLORA_ADAPTER_FILE: chunks,
        META_V2_FILE: [pretty_json(meta)],
        MANIFEST_V3_FILE: [pretty_json(manifest)],
    }


def read_qlora_adapter(
    path: Path, meta: Path | None = None, container: SafetensorsHeader | None = None
) -> tuple[Adapter, Sidecar]:
    """Read an adapter with its sidecar; all of it is checked before anything is returned.

    The modules of an adapter written by the source system have the names and base keys of its
    files. Sizes that follow from neither the names nor the sidecar are those of the tensors; they
    are compared with the base when the adapter is attached.

    Args:
        path: The safetensors file, or its folder.
        meta: Its sidecar, if it is not next to it under one of `SIDECAR_NAMES`.
        container: Header of the file, if it was read to tell its form.

    Raises:
        ArtifactError: For a `.bin`, a pickle or another foreign file; without a sidecar, or with
            an invalid one; for tensors that are missing, unexpected, duplicated,
            misshaped, of another type or not finite; for a file that is not the one its
            manifest was written with.
    """
    file = v3_file(path) if path.is_dir() else path
    try:
        found = (container or header_of_qlora(file)).tensors
    except ModelError as error:
        raise ArtifactError(*map(say.form_container_refused, error.problems)) from error
    sidecar = find_sidecar(file, meta)
    infos = _stored_tensors(found, sidecar.facts, str(file))
    if sidecar.ours is not None:
        _require_digest(file, sidecar.ours)
    tensors = _read_tensors(file, infos)
    if sidecar.ours is None:
        return _source_adapter(sidecar.facts, tensors), sidecar
    return _adapter_of(sidecar.ours, tensors), sidecar


def _require_digest(path: Path, manifest: OurManifest) -> None:
    try:
        digest = content_digest(path)
    except ModelError as error:
        raise ArtifactError(*error.problems) from error
    if digest != manifest.adapter_sha256:
        raise ArtifactError(say.ADAPTER_DAMAGED.at(str(path)))


def _stored_tensors(
    found: Mapping[str, TensorInfo], facts: AdapterFacts, where: str
) -> dict[str, TensorInfo]:
    """Every tensor by its canonical name, after checking them all against the sidecar."""
    stored: dict[str, str] = {}
    problems: list[Problem] = []
    for name in found:
        short = name.removesuffix(_SUFFIX)
        if short in stored:
            problems.append(say.form_tensor_twice(short).at(where))
        stored[short] = name
    infos = {short: found[name] for short, name in stored.items()}
    differences = tensor_differences(_expected_shapes(facts), infos, {"F32"})
    problems += [tensor_problem(SIDECAR, where, each, stored) for each in differences]
    if problems:
        raise ArtifactError(*capped(sorted(problems, key=str)))
    return infos


def _expected_shapes(facts: AdapterFacts) -> dict[str, tuple[int | None, int | None]]:
    shapes: dict[str, tuple[int | None, int | None]] = {}
    for name in facts.layer_order:
        inputs, outputs = facts.features(name)
        shapes[f"{name}.lora_a"] = (facts.rank, inputs)
        shapes[f"{name}.lora_b"] = (outputs, facts.rank)
    return shapes


def _read_tensors(path: Path, infos: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
    try:
        tensors = read_tensors(path, infos)
    except ModelError as error:
        refused = map(say.form_container_refused, error.problems)
        raise ArtifactError(*refused) from error
    if broken := not_finite(tensors):
        raise ArtifactError(*capped([tensor_not_finite(LORA_BIN, str(path), n) for n in broken]))
    return tensors


def _source_adapter(facts: AdapterFacts, tensors: Mapping[str, Tensor]) -> Adapter:
    """The source system's adapter, under the names of its layers."""
    named = {
        name + ours: tensors[name + theirs] for name in facts.layer_order for theirs, ours in HALVES
    }
    header = AdapterHeader.of_foreign(
        LoraSpec(rank=facts.rank, alpha=facts.alpha),
        (
            AdaptedModule(
                ours=name,
                base_key=facts.base_key_map[name],
                roles=(),
                in_features=named[f"{name}.lora_A"].shape[1],
                out_features=named[f"{name}.lora_B"].shape[0],
                fan_in_fan_out=False,
            )
            for name in facts.layer_order
        ),
        facts.base_model,
        graph=facts.graph or GraphId.FULL,
        quantization=facts.quantization,
    )
    return Adapter(header, named)


def _adapter_of(manifest: OurManifest, tensors: Mapping[str, Tensor]) -> Adapter:
    """Our own adapter, under our names again.

    Raises:
        ArtifactError: For tensors of sizes that the manifest's modules do not have.
    """
    header = manifest.header
    names = logical_names(header.graph, header.modules)
    ours = {
        module.ours + half: tensors[names[module.ours] + theirs]
        for module in header.modules
        for theirs, half in HALVES
    }
    expected = header.tensor_shapes()
    problems = [
        tensor_misshaped(LORA_BIN, MANIFEST_V3_FILE, name, tuple(tensor.shape), expected[name])
        for name, tensor in ours.items()
        if tuple(tensor.shape) != expected[name]
    ]
    if problems:
        raise ArtifactError(*capped(problems))
    return Adapter(header, ours)
