"""What `vox mens push` sends of a run, an adapter or a model folder.

Adapters are sent in PEFT's form, which is what loads elsewhere. torch is imported where one of
ours is written in that form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vox_populi.adapters.peft.config import PEFT_WEIGHTS_FILE
from vox_populi.errors import ArtifactError
from vox_populi.export.consumers import Consumer
from vox_populi.files.known_names import MANIFEST_FILE, PEFT_CONFIG_FILE
from vox_populi.files.published_file import read_published_file
from vox_populi.files.strict_json import parse_json_object, read_json_object
from vox_populi.hf.companion_files import CARD_FILE
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.hf.hub_name import HubName, hub_name_of, hub_origin, parse_hub_name
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.hf.model_place import foreign_place_problem
from vox_populi.hf.weight_files import INDEX_NAME, SINGLE_NAME
from vox_populi.hub.push_card import CardFacts, adapter_card, model_card, with_front_matter
from vox_populi.hub.sent_files import (
    SentFile,
    adapter_files,
    content_of,
    model_files,
    with_file,
)
from vox_populi.merge.serving_handoff import HANDOFF_FILE
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages import push as say
from vox_populi.pipeline.early_refusals import require_adapter
from vox_populi.pipeline.export import ExportRequest, export_adapter
from vox_populi.runs.adapter_place import (
    AdapterForm,
    AdapterPlace,
    adapter_at,
    require_run_adapter,
)
from vox_populi.runs.base_location import find_base
from vox_populi.runs.manifest import read_manifest
from vox_populi.runs.run_dir import run_files

_BASE_FIELD = "base_model_name_or_path"


class Asked(Protocol):
    """The part of a request that says what is sent."""

    @property
    def source(self) -> Path:
        """Run, checkpoint, adapter or model folder."""

    @property
    def base_name(self) -> str | None:
        """The name of an adapter's base on the hub, if it was passed."""

    @property
    def model_dir(self) -> Path | None:
        """The folder of an adapter's base, if it was passed."""

    @property
    def include_system_prompt(self) -> bool:
        """Whether the system prompt of the training is sent, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedSource:
    """Files that are ready to be sent."""

    kind: str
    """`adapter` or `model`."""
    files: tuple[SentFile, ...]
    base_name: str | None = None
    """Name of an adapter's base on the hub."""
    notes: tuple[str, ...] = ()


def prepare_source(asked: Asked, name: HubName, work: Path) -> PushedSource:
    """Find out what the source is, and collect its files.

    Args:
        asked: The request.
        name: The repository, which the card names.
        work: An empty folder, for an adapter that is written in PEFT's form.

    Raises:
        ArtifactError: For something that is neither adapter nor model, an unfinished run, or an
            adapter whose base has no public name.
        ModelError: For a file that cannot be read.
    """
    require_adapter(asked.source)
    place = _adapter_of(asked.source)
    if place is None:
        return _model(asked.source, name)
    manifest = _manifest_of(asked.source)
    base_name = _base_name(asked, place, manifest)
    if place.form is AdapterForm.PEFT:
        return _peft_folder(place.file.parent, base_name, name)
    request = ExportRequest(
        source=asked.source,
        consumer=Consumer.PEFT,
        output_dir=work / "adapter",
        model_dir=asked.model_dir,
        base_name=base_name,
        include_system_prompt=asked.include_system_prompt,
    )
    report = export_adapter(request)
    files = adapter_files(request.output_dir, PEFT_WEIGHTS_FILE, base_name)
    if (asked.source / CARD_FILE).is_file():
        card = read_published_file(asked.source / CARD_FILE, asked.source)
        files = with_file(files, CARD_FILE, card)
    return _with_card(files, name, base_name, manifest, report.notes)


def _adapter_of(source: Path) -> AdapterPlace | None:
    if source.is_dir() and run_files(source) and not (source / PEFT_CONFIG_FILE).is_file():
        require_run_adapter(source)
    return adapter_at(source)


def _manifest_of(source: Path) -> Mapping[str, object]:
    """The manifest of a run folder; empty for anything else, and for a run that is not over."""
    file = source / MANIFEST_FILE
    return read_manifest(file) if file.is_file() else {}


def _base_name(asked: Asked, place: AdapterPlace, manifest: Mapping[str, object]) -> str:
    """The name of the base on the hub.

    Raises:
        ArtifactError: When there is none, so that nobody could load the adapter.
    """
    if asked.base_name is not None:
        names = [asked.base_name] if parse_hub_name(asked.base_name) else []
        known = asked.base_name
    else:
        names = list(_recorded_names(asked, place, manifest))
        known = _known_name(place, manifest)
    if not names:
        raise ArtifactError(say.base_has_no_public_name(str(asked.source), known))
    return names[0]


def _recorded_names(
    asked: Asked, place: AdapterPlace, manifest: Mapping[str, object]
) -> Iterator[str]:
    base = asked.model_dir or find_base(place.run)
    origin = None if base is None else hub_origin(base)
    if origin is not None:
        yield origin.repository
    if place.form is AdapterForm.PEFT:
        text = str(read_json_object(place.file.parent / PEFT_CONFIG_FILE).get(_BASE_FIELD))
        named = hub_name_of(Path(text))
        if named is not None:
            yield named.repository
    for key in ("provenance_upstream_model_id", "base_model"):
        text = str(manifest.get(key))
        if parse_hub_name(text) is not None:
            yield text


def _known_name(place: AdapterPlace, manifest: Mapping[str, object]) -> str:
    """What the base is called in a message."""
    if place.form is AdapterForm.PEFT:
        config = read_json_object(place.file.parent / PEFT_CONFIG_FILE)
        return str(config.get(_BASE_FIELD))
    return str(manifest.get("base_model", "a folder"))


def _peft_folder(folder: Path, base_name: str, name: HubName) -> PushedSource:
    if not (folder / PEFT_WEIGHTS_FILE).is_file():
        raise ArtifactError(say_export.not_a_peft_folder(PEFT_WEIGHTS_FILE).at(str(folder)))
    files = adapter_files(folder, PEFT_WEIGHTS_FILE, base_name)
    had, has = (folder / HANDOFF_FILE).is_file(), any(e.name == HANDOFF_FILE for e in files)
    notes = (say.NOTE_HANDOFF_LEFT_OUT,) if had and not has else ()
    return _with_card(files, name, base_name, {}, notes)


def _with_card(
    files: list[SentFile],
    name: HubName,
    base_name: str,
    manifest: Mapping[str, object],
    notes: tuple[str, ...],
) -> PushedSource:
    """An adapter's files with a card: the one that is among them, or one that is made."""
    config = content_of(files, PEFT_CONFIG_FILE)
    assert config is not None, "an adapter of PEFT has a config"
    facts = CardFacts(
        repository=name.repository,
        base_name=base_name,
        config=parse_json_object(config, PEFT_CONFIG_FILE),
        manifest=manifest,
        has_tokenizer=content_of(files, TOKENIZER_NAME) is not None,
    )
    own = content_of(files, CARD_FILE)
    card = adapter_card(facts) if own is None else with_front_matter(own, facts)
    made = (say.NOTE_NO_LICENSE,) if own is None else ()
    return PushedSource(
        kind="adapter",
        files=tuple(with_file(files, CARD_FILE, card)),
        base_name=base_name,
        notes=(*notes, *made),
    )


def _model(folder: Path, name: HubName) -> PushedSource:
    has_weights = any((folder / each).is_file() for each in (SINGLE_NAME, INDEX_NAME))
    if not has_weights or not (folder / CONFIG_NAME).is_file():
        problem = foreign_place_problem(folder) or say.nothing_to_push(str(folder))
        raise ArtifactError(problem)
    files = model_files(folder)
    if content_of(files, CARD_FILE) is not None:
        return PushedSource(kind="model", files=tuple(files))
    made = with_file(files, CARD_FILE, model_card(name.repository))
    return PushedSource(kind="model", files=tuple(made), notes=(say.NOTE_NO_LICENSE,))
