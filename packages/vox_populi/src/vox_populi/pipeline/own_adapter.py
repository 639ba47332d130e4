"""Reading an adapter of this program, whichever of its two file formats it is in. Needs torch."""

from __future__ import annotations

from pathlib import Path

from vox_populi.adapters.lora_bin import AdapterFile, read_adapter_bin
from vox_populi.adapters.v3.files import SourceAdapter, read_qlora_adapter
from vox_populi.errors import ArtifactError
from vox_populi.operator_messages import run as say

_SUFFIX = ".safetensors"


def read_own_adapter(path: Path) -> AdapterFile:
    """Read `model_final.bin` or the adapter of a checkpoint, or a QLoRA run's safetensors file.

    Raises:
        ArtifactError: For a file that is neither, and for the source system's adapters, which do
            not record their base.
    """
    if path.suffix.lower() != _SUFFIX:
        return read_adapter_bin(path)
    found = read_qlora_adapter(path)
    if isinstance(found, SourceAdapter):
        raise ArtifactError(say.adapter_of_the_source_system(str(path)))
    return found


def read_language_adapter(path: Path) -> AdapterFile:
    """Read an adapter that will run in the transformer.

    Raises:
        ArtifactError: For an adapter of a proxy graph, and as `read_own_adapter`.
    """
    found = read_own_adapter(path)
    graph = found.header.graph
    if graph.is_proxy:
        raise ArtifactError(say.proxy_is_no_language_model(str(path), graph))
    return found
