"""Sending an adapter or a model to the Hugging Face Hub: request, report and function. No torch."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import extras
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import setting, setting_metadata
from vox_populi.errors import ConfigError, EnvironmentFailure
from vox_populi.files.json_numbers import JsonObject
from vox_populi.hf.hub_name import HubName, ModelParts, parse_hub_name
from vox_populi.hub.transfer import UNWATCHED, TransferWatcher
from vox_populi.operator_messages import push as say
from vox_populi.pipeline.model_arguments import offline_variable
from vox_populi.pipeline.pushed_source import PushedSource, prepare_source


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """A request to send an adapter or a model folder to the hub."""

    source: Path = field(
        metadata=setting_metadata(
            "Run, checkpoint, adapter, or a model folder such as a merge writes.", argument="RUN"
        )
    )
    target: Path = field(
        metadata=setting_metadata("Repository on the hub; made if missing.", argument="ORG/NAME")
    )
    branch: str | None = setting(
        None, "Branch; made if missing.", metavar="BRANCH", default_text="main"
    )
    public: bool = setting(False, "Let everybody read the repository; otherwise it is private.")
    dry_run: bool = setting(False, "Show files and sizes; connect to nothing.")
    force: bool = setting(False, "Upload even if the branch has other weights.")
    base_name: str | None = setting(
        None, "Name of an adapter's base on the hub.", metavar="NAME", default_text="as recorded"
    )
    model_dir: Path | None = setting(
        None, "Base folder, if it has moved since the run.", name="model", model=ModelParts.ALL
    )
    allow_download: bool = download_setting()
    include_system_prompt: bool = setting(
        False, "Upload the training's system prompt with the chat template."
    )

    @property
    def name(self) -> HubName:
        """Repository and branch.

        Raises:
            ConfigError: For a name that is neither, or a commit in place of a branch.
        """
        text = self.target.as_posix()
        typed = text if self.branch is None else f"{text}@{self.branch}"
        name = parse_hub_name(typed)
        if name is None or name.is_commit:
            raise ConfigError(say.push_target_malformed(typed))
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class PushReport:
    """What was sent, or would be."""

    name: HubName
    kind: str
    """`adapter` or `model`."""
    base_name: str | None
    """Name of an adapter's base on the hub."""
    files: tuple[tuple[str, int], ...]
    """Names and sizes."""
    is_private: bool
    url: str | None = None
    """The repository's page; `None` if nothing was sent. The same for the commit."""
    commit: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_bytes(self) -> int:
        """Size of all files."""
        return sum(size for _, size in self.files)

    def as_json(self) -> JsonObject:
        """The fields of `vox mens push --json`."""
        return {
            "repository": self.name.repository,
            "branch": self.name.revision,
            "kind": self.kind,
            "base": self.base_name,
            "private": self.is_private,
            "uploaded": self.commit is not None,
            "url": self.url,
            "commit": self.commit,
            "bytes": self.n_bytes,
            "files": [{"name": name, "bytes": size} for name, size in self.files],
            "notes": list(self.notes),
        }


def push_to_hub(request: PushRequest, watcher: TransferWatcher = UNWATCHED) -> PushReport:
    """Send an adapter in PEFT's form, or a model folder, with a model card, as one commit.

    Raises:
        ConfigError: For a malformed name.
        ArtifactError: For something that cannot be sent, or a repository with other content.
        ModelError: For a file that cannot be read.
        EnvironmentFailure: When the network, the token or the hub's limits are in the way.
        MissingExtraError: Without the extra `hub`.
    """
    name = request.name
    if not request.dry_run:
        _require_network(name)
    with tempfile.TemporaryDirectory(prefix="vox-push-") as folder:
        source = prepare_source(request, name, Path(folder))
        if request.dry_run:
            return _report(name, source, is_private=not request.public)
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # It is read when it is imported.
        sent = extras.load("vox_populi.hub.upload").send_files(
            name, source.files, watcher, public=request.public, force=request.force
        )
    return _report(name, source, is_private=sent.is_private, url=sent.url, commit=sent.commit)


def _require_network(name: HubName) -> None:
    """Refuse early what sending would refuse, before an adapter is written in another form."""
    offline = offline_variable()
    if offline is not None:
        raise EnvironmentFailure(say.push_is_offline(str(name), offline))
    extras.require("huggingface_hub")


def _report(
    name: HubName,
    source: PushedSource,
    *,
    is_private: bool,
    url: str | None = None,
    commit: str | None = None,
) -> PushReport:
    return PushReport(
        name=name,
        kind=source.kind,
        base_name=source.base_name,
        files=tuple(sorted((each.name, each.size) for each in source.files)),
        is_private=is_private,
        url=url,
        commit=commit,
        notes=source.notes,
    )
