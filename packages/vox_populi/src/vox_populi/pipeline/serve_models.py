"""Finding the models of a server: one base, its adapters, their names and digests. Needs torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.adapters.header import Quantization
from vox_populi.errors import ArtifactError, ConfigError
from vox_populi.files.file_digest import digest_of_files
from vox_populi.files.known_names import PEFT_CONFIG_FILE
from vox_populi.hf.inventory import ModelInventory, base_digest
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.operator_messages import serving as say
from vox_populi.pipeline.load_model import FoundWeights, find_weights
from vox_populi.pipeline.serve import ServeRequest, is_adapter
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.run_dir import run_files
from vox_tensor.errors import VoxError


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A base or an adapter on it, under the name that requests choose."""

    name: str
    found: FoundWeights
    base_digest: str

    @property
    def adapter_digest(self) -> str | None:
        """Digest of the adapter's files; `None` for the base."""
        adapter = self.found.adapter
        return None if adapter is None else digest_of_files(adapter.files)

    @property
    def created(self) -> int:
        """When its files were written, in seconds since 1970."""
        adapter, inventory = self.found.adapter, self.found.inventory
        shard = inventory.model_dir / next(iter(inventory.shards), ".")
        return int((shard if adapter is None else adapter.place.file).stat().st_mtime)

    def facts(self) -> dict[str, object]:
        """What `/v1/models` tells of it."""
        found, adapter_digest = self.found, self.adapter_digest
        quantization = "nf4" if found.inventory.nf4 or found.quantization else None
        weights = f"{self.base_digest} {adapter_digest} {quantization}"
        identity = f"{weights} {found.device.compute_dtype} {found.policy.digest}"
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "vox-mens",
            "root": found.name,
            "parent": None if found.adapter is None else found.name,
            "max_model_len": found.inventory.config.max_positions,
            "fingerprint": f"vox_{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
            "base_digest": self.base_digest,
            "adapter_digest": adapter_digest,
            "template": str(found.policy.kind),
            "template_digest": found.policy.digest,
            "tokenizer_digest": found.tokenizer.digest,
            "quantization": quantization,
            "dtype": str(found.device.compute_dtype),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModels:
    """All models of a server; the first is the base, unless it cannot be chosen."""

    models: tuple[FoundModel, ...]
    notes: tuple[str, ...]

    @property
    def quantization(self) -> Quantization | None:
        """How the base is quantised in memory, if an adapter was trained so."""
        return next((each.found.quantization for each in self.models), None)


def find_models(request: ServeRequest) -> FoundModels:
    """Find and check what a request serves, without loading weights.

    Raises:
        ConfigError: For two models under one name, or adapters of different bases.
        VoxError: As `find_weights`.
    """
    bases = [path for path in request.sources if not is_adapter(path)]
    if len(bases) > 1:
        raise ConfigError(say.bases_differ(str(bases[0]), str(bases[1]), "their folders"))
    base = bases[0] if bases else None
    for each in request.adapters:
        if not is_adapter(each.path):
            raise ArtifactError(say.NOT_AN_ADAPTER.at(str(each.path)))
    named = [(_name_of(path), path) for path in request.sources if path not in bases]
    named += [(each.name, each.path) for each in request.adapters]
    models = [_found(name, _weights(path, base, request)) for name, path in named]
    notes: list[str] = []
    if bases or not models:
        models.insert(0, _found(None, _weights(base, None, request)))
    else:
        models[:0] = _implied_base(models[0], request, notes.append)
    _require_one_base(models)
    quantization = next(
        (each.found.quantization for each in models if each.found.adapter is not None), None
    )
    models = [
        replace(each, found=replace(each.found, quantization=quantization)) for each in models
    ]
    notes += [note for each in models for note in each.found.notes]
    return FoundModels(models=tuple(models), notes=tuple(dict.fromkeys(notes)))


def _weights(path: Path | None, base: Path | None, request: ServeRequest) -> WeightsChoice:
    compute = request.compute
    choice = WeightsChoice(
        device=compute.device, dtype=compute.dtype, threads=compute.threads, model_dir=base
    )
    if path is None or not is_adapter(path):
        return replace(choice, model_dir=path)
    if (path / PEFT_CONFIG_FILE).is_file():
        return replace(choice, adapter=path)
    if path.is_dir() and run_files(path):
        return replace(choice, run=path)
    return replace(choice, checkpoint=path)


def _found(name: str | None, choice: WeightsChoice) -> FoundModel:
    found = find_weights(choice)
    adapter = found.adapter
    digest = "" if adapter is None else adapter.adapter.header.base_digest
    return FoundModel(
        name=found.name if name is None else name,
        found=found,
        # Another program's adapter does not record it.
        base_digest=digest or _digest_of_base(found.inventory),
    )


def _digest_of_base(inventory: ModelInventory) -> str:
    """The digest that adapters record; a merged file holds its config."""
    if (inventory.model_dir / CONFIG_NAME).is_file():
        return base_digest(inventory)
    return digest_of_files([inventory.model_dir / shard for shard in inventory.shards])


def _implied_base(
    adapter: FoundModel, request: ServeRequest, note: Callable[[str], None]
) -> Iterator[FoundModel]:
    """The base of an adapter under its own name, unless its text format cannot be used."""
    assert adapter.found.adapter is not None, "the first source is an adapter"
    folder = adapter.found.adapter.base_folder()
    try:
        yield _found(None, _weights_of_base(folder, request))
    except VoxError as error:
        note(say.note_base_not_served(adapter.found.name, error.problems[0].what))


def _weights_of_base(folder: Path | None, request: ServeRequest) -> WeightsChoice:
    compute = request.compute
    return WeightsChoice(
        device=compute.device, dtype=compute.dtype, threads=compute.threads, model_dir=folder
    )


def _require_one_base(models: list[FoundModel]) -> None:
    names = [each.name for each in models]
    problems = [say.name_taken(name) for name in sorted(set(names)) if names.count(name) > 1]
    adapters = [each for each in models if each.found.adapter is not None]
    first = models[0]
    problems += [
        say.bases_differ(first.name, other.name, "their weights")
        for other in models[1:]
        if other.base_digest != first.base_digest
    ]
    problems += [
        say.bases_differ(adapters[0].name, other.name, "their quantisation")
        for other in adapters[1:]
        if other.found.quantization != adapters[0].found.quantization
    ]
    if problems:
        raise ConfigError(*problems)


def _name_of(path: Path) -> str:
    """The name of an adapter that has none: of its run, or of its folder."""
    place = path.resolve()
    return place.name if place.is_dir() else place.parent.name
