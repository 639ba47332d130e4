"""Adapter files (`model_final.bin`, D2): a safetensors container with our own header.

Nothing here unpickles. A foreign `.bin` is refused by its first bytes.
Shape letters: R rank, I input features, O output features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.header import ADAPTER_FORMAT, ADAPTER_VERSIONS, AdapterHeader, parse_header
from vox_populi.containers.safetensors_header import SafetensorsHeader, read_header
from vox_populi.containers.tensor_comparison import tensor_differences, tensor_problem
from vox_populi.containers.tensor_container import bytes_of, container_chunks
from vox_populi.containers.tensor_reader import not_finite, read_tensors
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.json_fields import FieldError
from vox_populi.files.whole_file import Chunk, write_whole
from vox_populi.operator_messages import adapter as say
from vox_populi.operator_messages.tensors import LORA_BIN, tensor_not_finite
from vox_populi.operator_messages.wording import capped


def write_adapter_bin(path: Path, header: AdapterHeader, tensors: Mapping[str, Tensor]) -> None:
    """Write an adapter file atomically; the same adapter always gives the same bytes.

    Args:
        path: The file; a link there is replaced.
        header: Must describe exactly these tensors.
        tensors: Float32 CPU tensors.

    Raises:
        EnvironmentFailure: When the system refuses; no partial file is left.
        ValueError: For tensors that the header does not describe.
    """
    write_whole(path, *adapter_bin_chunks(header, tensors))


def adapter_bin_chunks(header: AdapterHeader, tensors: Mapping[str, Tensor]) -> list[Chunk]:
    """The bytes of an adapter file, as views of the tensors.

    Raises:
        ValueError: For tensors that the header does not describe.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != header.tensor_shapes():
        message = "header and tensors describe different adapters"
        raise ValueError(message)
    ready = {name: tensors[name].detach().contiguous() for name in sorted(tensors)}
    if any(
        tensor.dtype != torch.float32 or tensor.device.type != "cpu" for tensor in ready.values()
    ):
        message = "adapter tensors must be float32 on the CPU"
        raise ValueError(message)
    text = header.to_json()
    metadata = {
        "format": ADAPTER_FORMAT,
        "version": header.version,
        "header": text,
        "digest": _digest(text, list(ready.values())),
    }
    return container_chunks(ready, metadata)


def read_adapter_bin(path: Path, container: SafetensorsHeader | None = None) -> Adapter:
    """Read an adapter file; all of it is checked before anything is returned.

    Raises:
        ArtifactError: For a pickle, a zip, a truncated or foreign file, an unknown version,
            for content that does not match the file's own digest, and for tensors that are
            missing, unexpected, misshaped or not finite.
    """
    container, header = _read_headers(path, container)
    names = header.tensor_shapes()
    try:
        tensors = read_tensors(path, {name: container.tensors[name] for name in names})
    except ModelError as error:
        raise ArtifactError(*map(say.adapter_container_refused, error.problems)) from error
    content = _digest(container.metadata["header"], [tensors[name] for name in sorted(tensors)])
    if container.metadata.get("digest") != content:
        raise ArtifactError(say.ADAPTER_DAMAGED.at(str(path)))
    if broken := not_finite(tensors):
        raise ArtifactError(*capped([tensor_not_finite(LORA_BIN, str(path), n) for n in broken]))
    return Adapter(header, tensors)


def _read_headers(
    path: Path, container: SafetensorsHeader | None
) -> tuple[SafetensorsHeader, AdapterHeader]:
    try:
        container = container or read_header(path)
    except ModelError as error:
        raise ArtifactError(*map(say.adapter_container_refused, error.problems)) from error
    header = _parse_metadata(path, container.metadata)
    differences = tensor_differences(header.tensor_shapes(), container.tensors, {"F32"})
    if differences:
        problems = (tensor_problem(LORA_BIN, str(path), each) for each in differences)
        raise ArtifactError(*capped(sorted(problems, key=str)))
    return container, header


def _parse_metadata(path: Path, metadata: Mapping[str, str]) -> AdapterHeader:
    if metadata.get("format") != ADAPTER_FORMAT or "header" not in metadata:
        raise ArtifactError(say.adapter_foreign_format(metadata.get("format")).at(str(path)))
    version = metadata.get("version")
    if version not in ADAPTER_VERSIONS:
        known = " and ".join(ADAPTER_VERSIONS)
        raise ArtifactError(say.adapter_version_unknown(version, known).at(str(path)))
    try:
        header = parse_header(metadata["header"])
    except FieldError as error:
        raise ArtifactError(say.adapter_header_invalid(str(error)).at(str(path))) from error
    if header.version != version:
        reason = f"it claims version {version} but has the contents of version {header.version}"
        raise ArtifactError(say.adapter_header_invalid(reason).at(str(path)))
    return header


def _digest(header_text: str, tensors: Sequence[Tensor]) -> str:
    """Digest of the header and the numbers of contiguous tensors in the order of their names."""
    content = hashlib.sha256(header_text.encode())
    for tensor in tensors:
        content.update(bytes_of(tensor))
    return f"sha256:{content.hexdigest()}"
