"""Finding the adapter of a path, with its base and notes about it. Needs torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.base import header_on_base
from vox_populi.adapters.lora_bin import read_adapter_bin
from vox_populi.adapters.peft.adapter import read_peft_adapter
from vox_populi.adapters.peft.config import read_peft_config
from vox_populi.adapters.v3.files import read_qlora_adapter
from vox_populi.adapters.v3.layers import place_source_adapter
from vox_populi.adapters.v3.sidecar import Sidecar
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, base_digest, read_inventory
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages import run as say_run
from vox_populi.runs.adapter_place import AdapterForm, AdapterPlace, adapter_at
from vox_populi.runs.base_location import find_base
from vox_populi.runs.checkpoint_dir import check_checkpoint
from vox_tensor.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAdapter:
    """The adapter of a path."""

    place: AdapterPlace
    adapter: Adapter
    """The adapter; one of the source system has the names of its own layers until `on_its_base`."""
    base: Path | None
    """The folder of its base, if known; the embedded base does not need one."""
    sidecar: Sidecar | None = None
    """The sidecar of formats that have one."""
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Its place in messages."""
        return self.place.where

    @property
    def files(self) -> tuple[Path, ...]:
        """The file with the numbers and the sidecar it was read with."""
        return (self.place.file,) if self.sidecar is None else (self.place.file, self.sidecar.path)

    @property
    def words(self) -> str:
        """Display name of its format."""
        if self.sidecar is None:
            return "a PEFT folder" if self.place.form is AdapterForm.PEFT else "a .bin"
        version = self.sidecar.facts.version
        if self.is_of_source_system:
            return f"a version {version} adapter of the source system"
        return f"version {version} files"

    @property
    def is_of_source_system(self) -> bool:
        """Whether its files do not have our header."""
        return self.sidecar is not None and self.sidecar.ours is None

    def base_folder(self, unknown: Problem | None = None) -> Path | None:
        """The folder of its base; `None` for the embedded one.

        A base that was named by the folder of the embedded one is known by its digest.

        Args:
            unknown: The problem to raise if it is not known.

        Raises:
            ArtifactError: When it is not known.
        """
        header = self.adapter.header
        if self.base is not None or header.base_name == EMBEDDED_NAME:
            return self.base
        if header.base_digest == _embedded_digest():
            return embedded_model_dir()
        name = header.base_name
        raise ArtifactError(unknown or say_adapter.adapter_base_unknown(name).at(self.where))

    def inventory(self) -> ModelInventory:
        """The inventory of the base; missing weights do not matter here.

        Raises:
            ArtifactError: When the base is not known.
            ModelError: For a folder that cannot be used.
        """
        folder = self.base_folder(say_export.convert_needs_base(self.words).at(self.where))
        return _read_base(folder)

    def on_its_base(self, *, needs_tokenizer: bool = True) -> FoundAdapter:
        """The adapter completed from its base with what files of the source system lack.

        Args:
            needs_tokenizer: Refuse a base without a tokenizer for files that do not record it.

        Raises:
            ArtifactError: When the base is not known, or the adapter does not fit it.
            ModelError: For a base that cannot be used.
        """
        if self.sidecar is None or self.sidecar.ours is not None:
            return self
        inventory, facts = self.inventory(), self.sidecar.facts
        placed = place_source_adapter(self.adapter, facts, inventory.config, self.where)
        header, notes = header_on_base(
            placed.header, self.base, inventory, needs_tokenizer=needs_tokenizer
        )
        quantiser = () if header.quantization is None else (say_export.NOTE_SOURCE_QUANTISER,)
        return replace(
            self,
            adapter=Adapter(header, placed.tensors),
            notes=(*notes, say_export.note_facts_assumed(self.words), *quantiser),
        )


def find_adapter(path: Path, base: Path | None = None, meta: Path | None = None) -> FoundAdapter:
    """Read the adapter of a path.

    Args:
        path: An adapter's file, the folder of a run or of a checkpoint, or a PEFT folder.
        base: Its base, if it has moved since training; PEFT folders may name it.
        meta: The sidecar of a version 2 or 3 file, if it is not next to it under a known name.

    Raises:
        ArtifactError: If it is not an adapter, cannot be read or does not fit its base.
        ModelError: For a base folder that cannot be used.
    """
    place = adapter_at(path)
    if place is None:
        raise ArtifactError(say_export.CONVERT_SOURCE_UNKNOWN.at(str(path)))
    return read_adapter(place, base, meta)


def find_own_adapter(path: Path, base: Path | None = None) -> FoundAdapter:
    """Read an adapter of this program, which records its base.

    Raises:
        ArtifactError: For an adapter of the source system, and as `find_adapter`.
    """
    place = adapter_at(path)
    if place is None or not _may_be_ours(place):
        place = AdapterPlace(AdapterForm.LORA_BIN, path)
    found = read_adapter(place, base)
    if found.is_of_source_system:
        raise ArtifactError(say_run.ADAPTER_OF_THE_SOURCE_SYSTEM.at(found.where))
    return found


def _may_be_ours(place: AdapterPlace) -> bool:
    is_v3 = place.form is AdapterForm.V3 and place.file.suffix.lower() == ".safetensors"
    return is_v3 or place.form is AdapterForm.LORA_BIN


def read_adapter(
    place: AdapterPlace, base: Path | None = None, meta: Path | None = None
) -> FoundAdapter:
    """Read the adapter at a place.

    Raises:
        ArtifactError: As `find_adapter`.
        ModelError: As `find_adapter`.
    """
    if place.form is AdapterForm.PEFT:
        return _read_peft(place, base)
    base = base or find_base(place.run)
    if place.form is AdapterForm.V3:
        adapter, sidecar = read_qlora_adapter(place.file, meta, place.container)
        return FoundAdapter(place=place, adapter=adapter, base=base, sidecar=sidecar)
    if place.checkpoint is not None:
        check_checkpoint(place.checkpoint)
    return FoundAdapter(
        place=place, adapter=read_adapter_bin(place.file, place.container), base=base
    )


def _read_peft(place: AdapterPlace, base: Path | None) -> FoundAdapter:
    """Read a PEFT folder, whose modules are only known together with a base."""
    folder, words = place.file.parent, "a PEFT folder"
    if base is None:
        named = read_peft_config(folder).base_name or ""
        base = _named_folder(named)
        if base is None and named not in (EMBEDDED_NAME, str(embedded_model_dir().resolve())):
            raise ArtifactError(say_export.convert_needs_base(words).at(str(folder)))
    inventory = _read_base(base)
    adapter, notes = read_peft_adapter(folder, inventory.config, inventory)
    header, said = header_on_base(adapter.header, base, inventory)
    return FoundAdapter(
        place=place,
        adapter=Adapter(header, adapter.tensors),
        base=base,
        notes=(*notes, *said, say_export.note_facts_assumed(words)),
    )


def _named_folder(name: str) -> Path | None:
    """The model folder that a PEFT folder names, if it is there; `None` for the embedded one."""
    folder = Path(name)
    is_model = folder.is_absolute() and (folder / CONFIG_NAME).is_file()
    return folder if is_model and folder != embedded_model_dir().resolve() else None


def _embedded_digest() -> str | None:
    try:
        return base_digest(read_inventory(embedded_model_dir()))
    except ModelError:
        return None


def _read_base(folder: Path | None) -> ModelInventory:
    return read_inventory(folder or embedded_model_dir(), complete=False, allow_nf4=True)
