"""The one place where what was passed as a model becomes a folder.

A path stays as it is. A name of the Hugging Face Hub becomes its folder in the hub's cache: as it
is there, or, where `allow_download` is set, after its missing files were fetched. Without it no
connection is opened, and the hub's library is not even imported.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from vox_populi import extras
from vox_populi.contract.download_choice import ALLOW_DOWNLOAD
from vox_populi.contract.setting import Setting, settings_of
from vox_populi.errors import EnvironmentFailure, ModelError
from vox_populi.hf.hub_cache import cached_folder, lacking_files
from vox_populi.hf.hub_name import HubName, ModelParts, hub_name_of
from vox_populi.hf.model_place import not_downloaded
from vox_populi.hub.transfer import UNWATCHED, TransferWatcher
from vox_populi.operator_messages import hub as say

RequestT = TypeVar("RequestT")

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_NO = ("", "0", "false", "no", "off")


def with_model_folders(request: RequestT, watcher: TransferWatcher = UNWATCHED) -> RequestT:
    """The request with a folder in place of each name of the hub.

    Args:
        request: A dataclass with settings; those with `SettingSpec.model` are models.
        watcher: Is told what is downloaded.

    Raises:
        ModelError: For a model that is not on this machine, if it may not be downloaded; for one
            that the hub does not have.
        EnvironmentFailure: When the network, a token or the disk is in the way.
        MissingExtraError: For a download without the extra `hub`.
    """
    settings = settings_of(type(request))
    may_download = any(each.of(request) for each in settings if each.field == ALLOW_DOWNLOAD)
    for each in settings:
        path, parts = each.of(request), each.spec.model
        if parts is not None and path is not None:
            folder = model_folder(path, may_download=may_download, parts=parts, watcher=watcher)
            request = request if folder is path else _with(request, each, folder)
    return request


def forbid_downloads() -> None:
    """Let the processes that this one starts take the model that this one has fetched."""
    os.environ[_OFFLINE[0]] = "1"


def model_folder(
    path: Path,
    *,
    may_download: bool,
    parts: ModelParts = ModelParts.ALL,
    watcher: TransferWatcher = UNWATCHED,
) -> Path:
    """The folder of a model; a path is returned as it is.

    Raises:
        ModelError: As `with_model_folders`.
        EnvironmentFailure: As `with_model_folders`.
        MissingExtraError: As `with_model_folders`.
    """
    name = hub_name_of(path)
    if name is None:
        return path
    cached = cached_folder(name)
    is_whole = cached is not None and not lacking_files(cached, parts)
    if not may_download or (is_whole and name.is_commit):
        return _as_cached(name, cached, parts, watcher)
    offline = offline_variable()
    if offline is not None:
        if is_whole:
            return _as_cached(name, cached, parts, watcher)
        raise EnvironmentFailure(say.hub_is_offline(str(name), offline))
    extras.require("huggingface_hub")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # It is read when it is imported.
    try:
        module = extras.load("vox_populi.hub.download")
        fetched: Path = module.download_model(name, parts, watcher)
    except EnvironmentFailure as error:
        is_unreachable = error.problems[0].code == say.HUB_UNREACHABLE.at("").code
        if not is_unreachable or cached is None or not is_whole:
            raise
        watcher.note(say.note_cached_unreachable(str(name), cached.name))
        return cached
    return fetched


def _as_cached(
    name: HubName, folder: Path | None, parts: ModelParts, watcher: TransferWatcher
) -> Path:
    if folder is None:
        raise ModelError(not_downloaded(name))
    lacking = lacking_files(folder, parts)
    if lacking:
        raise ModelError(say.cache_incomplete(str(name), str(folder), lacking[0]))
    watcher.note(say.note_cached(str(name), folder.name))
    return folder


def offline_variable() -> str | None:
    """The variable that keeps the hub's library from asking."""
    return next((each for each in _OFFLINE if os.environ.get(each, "").lower() not in _NO), None)


def _with(request: RequestT, model: Setting, folder: Path) -> RequestT:
    holder: Any = request
    if model.group is not None:
        group = replace(getattr(holder, model.group), **{model.field: folder})
        changed: RequestT = replace(holder, **{model.group: group})
        return changed
    own: RequestT = replace(holder, **{model.field: folder})
    return own
