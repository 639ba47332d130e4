"""Reading an adapter of any form into our header and tensors. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from vox_populi.adapters.header import ADAPTER_FORMAT, AdapterHeader
from vox_populi.adapters.lora_bin import read_adapter_bin
from vox_populi.adapters.peft.adapter import read_peft_adapter
from vox_populi.adapters.peft.config import PEFT_CONFIG_FILE, PEFT_WEIGHTS_FILE, read_peft_config
from vox_populi.adapters.v3.artifact_bridge import is_burn_bin_name
from vox_populi.adapters.v3.facts import Provenance
from vox_populi.adapters.v3.files import (
    LORA_ADAPTER_FILE,
    QLORA_ADAPTER_FILE,
    SourceAdapter,
    read_adapter_facts,
    read_qlora_adapter,
)
from vox_populi.adapters.v3.layers import place_source_adapter
from vox_populi.adapters.v3.manifest import OurManifest, V3Facts
from vox_populi.containers.safetensors_header import read_header
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import HEAD
from vox_populi.operator_messages import export as say
from vox_populi.pipeline.adapter_choice import adapter_path, hint_of_run
from vox_populi.pipeline.assumed_header import assumed_header
from vox_populi.pipeline.convert import AdapterForm, ConvertRequest
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.base_location import find_base
from vox_populi.runs.checkpoint_dir import checkpoint_at
from vox_populi.runs.run_dir import ADAPTER_FILE
from vox_tensor.lora_spec import LoraSpec


@dataclass(frozen=True, slots=True)
class Base:
    """Where the base of an adapter is, as far as anything says."""

    where: str
    """The adapter that needs it."""
    form: str
    """Of the adapter, in words."""
    folder: Path | None
    is_embedded: bool = False

    def inventory(self) -> ModelInventory:
        """What the base holds; weights that are missing there do not matter here.

        Raises:
            ArtifactError: When nothing says where it is.
            ModelError: For a folder that cannot be used.
        """
        if self.folder is None and not self.is_embedded:
            raise ArtifactError(say.convert_needs_base(self.where, self.form))
        folder = self.folder or embedded_model_dir()
        return read_inventory(folder, complete=False, allow_nf4=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAdapter:
    """An adapter in our terms, and what it was."""

    form: AdapterForm
    words: str
    """Name of the form it was found in."""
    where: str
    header: AdapterHeader
    tensors: Mapping[str, Tensor]
    base: Base
    v3: V3Facts | None = None
    """What the manifest said that the header does not."""
    provenance: Provenance | None = None
    notes: tuple[str, ...] = ()


def find_adapter(request: ConvertRequest) -> FoundAdapter:
    """Read what a path means: a PEFT folder, a `.bin`, or a safetensors file with its sidecar.

    Raises:
        ArtifactError: For what is none of them, cannot be read or does not fit its base.
        ModelError: For a base folder that cannot be used.
    """
    source = request.source
    if (source / PEFT_CONFIG_FILE).is_file():
        return _from_peft(source, request.base)
    if source.name == PEFT_WEIGHTS_FILE and (source.parent / PEFT_CONFIG_FILE).is_file():
        return _from_peft(source.parent, request.base)
    if source.is_dir():
        return _from_folder(source, request)
    if is_burn_bin_name(str(source)) or _is_our_bin(source):
        return _from_bin(source, request.base)
    return find_v3_adapter(request)


def _from_folder(folder: Path, request: ConvertRequest) -> FoundAdapter:
    if any((folder / name).exists() for name in (QLORA_ADAPTER_FILE, LORA_ADAPTER_FILE)):
        return find_v3_adapter(request)
    is_checkpoint = checkpoint_at(folder) is not None
    if not is_checkpoint and not (folder / ADAPTER_FILE).exists():
        raise ArtifactError(say.convert_source_unknown(str(folder)))
    choice = WeightsChoice(checkpoint=folder) if is_checkpoint else WeightsChoice(run=folder)
    path = adapter_path(choice)
    assert path is not None, "one of the two is named"
    return _from_bin(path, request.base)


def _is_our_bin(path: Path) -> bool:
    try:
        return read_header(path).metadata.get("format") == ADAPTER_FORMAT
    except ModelError:
        return False  # The reader of the other form says what is wrong with it.


def _from_bin(path: Path, base: Path | None) -> FoundAdapter:
    adapter = read_adapter_bin(path)
    words = "a .bin"
    hint = base or hint_of_run(path) or find_base(path.parent)
    return FoundAdapter(
        form=AdapterForm.LORA_BIN,
        words=words,
        where=str(path),
        header=adapter.header,
        tensors=adapter.tensors,
        base=Base(str(path), words, hint, adapter.header.base_name == EMBEDDED_NAME),
    )


def _from_peft(folder: Path, base: Path | None) -> FoundAdapter:
    words = "a PEFT folder"
    is_embedded = read_peft_config(folder).base_name == EMBEDDED_NAME
    at = Base(str(folder), words, base, is_embedded)
    inventory = at.inventory()
    adapter = read_peft_adapter(folder, inventory.config)
    header, notes = assumed_header(
        base, inventory, adapter.lora, adapter.modules, policy=TextPolicy()
    )
    return FoundAdapter(
        form=AdapterForm.PEFT,
        words=words,
        where=str(folder),
        header=replace(header, imported=adapter.imported),
        tensors=adapter.tensors,
        base=at,
        notes=(*adapter.notes, *notes, say.note_facts_assumed(words)),
    )


def find_v3_adapter(request: ConvertRequest, *, needs_tokenizer: bool = True) -> FoundAdapter:
    """Read a safetensors file with its sidecar, or the folder of both, and nothing else.

    Args:
        request: Says where it is.
        needs_tokenizer: Refuse a base without one for files that do not name it themselves.

    Raises:
        ArtifactError: As `find_adapter`.
        ModelError: As `find_adapter`.
    """
    path = request.source
    adapter = read_qlora_adapter(path, request.meta)
    sidecar = read_adapter_facts(path, request.meta)
    if isinstance(adapter, SourceAdapter):
        return _from_source(path, adapter, request.base, needs_tokenizer=needs_tokenizer)
    assert sidecar.ours is not None, "only a manifest of ours gives an adapter of ours"
    header = adapter.header
    words = f"version {sidecar.facts.version} files"
    run = path if path.is_dir() else path.parent
    at = Base(str(path), words, request.base or find_base(run), header.base_name == EMBEDDED_NAME)
    return FoundAdapter(
        form=AdapterForm.V3,
        words=words,
        where=str(path),
        header=header,
        tensors=adapter.tensors,
        base=at,
        v3=_v3_facts(sidecar.ours),
        provenance=sidecar.facts.provenance,
    )


def _v3_facts(manifest: OurManifest) -> V3Facts:
    facts = manifest.facts
    assert facts.embed_key is not None, "a manifest of ours names it"
    return V3Facts(
        vocab=facts.vocab,
        d_model=facts.d_model,
        embed_key=facts.embed_key,
        is_head_tied=facts.base_key_map.get(HEAD) == facts.embed_key,
        training_objective_note=manifest.training_objective_note,
        provenance=facts.provenance,
    )


def _from_source(
    path: Path, adapter: SourceAdapter, base: Path | None, *, needs_tokenizer: bool
) -> FoundAdapter:
    facts = adapter.facts
    words = f"a version {facts.version} adapter of the source system"
    folder = base or find_base(path if path.is_dir() else path.parent)
    at = Base(str(path), words, folder, facts.base_model == EMBEDDED_NAME)
    inventory = at.inventory()
    placed = place_source_adapter(adapter, inventory.config, str(path))
    plain, notes = assumed_header(
        folder,
        inventory,
        LoraSpec(rank=facts.rank, alpha=facts.alpha),
        placed.modules,
        policy=TextPolicy(),
        needs_tokenizer=needs_tokenizer,
    )
    header = replace(plain, graph=placed.graph, quantization=placed.quantization)
    quantiser = () if header.quantization is None else (say.NOTE_SOURCE_QUANTISER,)
    return FoundAdapter(
        form=AdapterForm.V3,
        words=words,
        where=str(path),
        header=header,
        tensors=placed.tensors,
        base=at,
        provenance=facts.provenance,
        notes=(*notes, say.note_facts_assumed(words), *quantiser),
    )
