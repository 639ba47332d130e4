"""Fetching a model of the Hugging Face Hub into the hub's cache, with the hub's own library.

Only files that a model folder is read from are fetched, at one commit, and each is compared with
the digest that the hub lists for it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.hf_api import RepoSibling

from vox_populi.errors import EnvironmentFailure, ModelError
from vox_populi.files.file_digest import content_digest
from vox_populi.files.model_file import open_model_file
from vox_populi.files.whole_file import write_whole
from vox_populi.hf.hub_cache import cache_folder, repository_folder
from vox_populi.hf.hub_name import SNAPSHOTS, HubName, ModelParts
from vox_populi.hf.model_config import CONFIG_NAME, read_model_config
from vox_populi.hf.weight_files import find_listed_weights
from vox_populi.hub.counting_bar import counting_bar
from vox_populi.hub.hub_client import LIBRARY, hub_api, hub_endpoint
from vox_populi.hub.hub_failures import hub_failures
from vox_populi.hub.transfer import UNWATCHED, TransferWatcher
from vox_populi.hub.wanted_files import has_weights, other_weights, small_files
from vox_populi.operator_messages import hub as say

_SPARE_BYTES = 64 * 2**20
"""What a disk should have left."""


def download_model(name: HubName, parts: ModelParts, watcher: TransferWatcher) -> Path:
    """Fetch what is missing of a model and return its folder in the cache.

    Raises:
        MissingExtraError: Without transformers, for a model that it would compute.
        ModelError: For a model or revision that is not there, or without safetensors weights; for
            a config that this program cannot use, before anything else is fetched.
        EnvironmentFailure: When a token, the connection or the disk is in the way; for a file that
            arrived with other bytes.
    """
    listed = _list_files(name)
    if parts is ModelParts.ALL and not has_weights(listed.files):
        raise ModelError(say.no_safetensors(str(name), other_weights(listed.files)))
    job = _Download(name, listed, watcher)
    try:
        if parts is ModelParts.ALL:
            # A model that cannot be used is refused for the price of its config.
            job.fetch([CONFIG_NAME], is_said=False)
            read_model_config(job.folder)
        # The small ones come first: the index says which weights there are.
        job.fetch(small_files(listed.files), is_said=parts is ModelParts.TEXT)
        if parts is ModelParts.ALL:
            job.fetch(find_listed_weights(job.folder), is_said=True)
    finally:
        watcher.close()
    if not name.is_commit:
        # Last: what a branch is said to be here is complete.
        ref = repository_folder(name) / "refs" / name.revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        write_whole(ref, listed.commit.encode())
    return job.folder


@dataclass(frozen=True, slots=True)
class _Listing:
    commit: str
    files: Mapping[str, RepoSibling]


def _list_files(name: HubName) -> _Listing:
    """The files of a revision, with sizes and digests, and the commit that it is now."""
    with hub_failures(name):
        info = hub_api().model_info(name.repository, revision=name.revision, files_metadata=True)
    assert info.sha is not None, "the hub answers with the commit"
    return _Listing(info.sha, {each.rfilename: each for each in info.siblings or ()})


class _Download:
    """Fetches files of one commit."""

    def __init__(self, name: HubName, listed: _Listing, watcher: TransferWatcher) -> None:
        self._name = name
        self._listed = listed
        self._watcher = watcher
        self.folder = repository_folder(name) / SNAPSHOTS / listed.commit

    def fetch(self, names: Sequence[str], *, is_said: bool) -> None:
        """Fetch those that are not there, one by one, and compare them with their digests.

        Raises:
            ModelError: When the model does not have one of them.
            EnvironmentFailure: As `download_model`.
        """
        unknown = [each for each in names if each not in self._listed.files]
        if unknown:
            raise ModelError(say.file_not_listed(str(self._name), unknown[0]))
        missing = [each for each in names if not (self.folder / each).is_file()]
        total = sum(self._listed.files[each].size or 0 for each in missing)
        if not missing:
            return
        self._require_room(len(missing), total, is_said=is_said)
        bar = counting_bar(self._watcher if is_said else UNWATCHED, total)
        for each in missing:
            with hub_failures(self._name):
                self._fetch(each, bar)
            self._require_listed_bytes(each)

    def _fetch(self, file: str, bar: Any) -> None:
        hf_hub_download(
            self._name.repository,
            file,
            revision=self._listed.commit,
            cache_dir=cache_folder(),
            endpoint=hub_endpoint(),
            library_name=LIBRARY,
            tqdm_class=bar,
        )

    def _require_room(self, files: int, needed: int, *, is_said: bool) -> None:
        cache = cache_folder()
        place = next(each for each in (cache, *cache.absolute().parents) if each.exists())
        free = shutil.disk_usage(place).free
        if needed + _SPARE_BYTES > free:
            raise EnvironmentFailure(say.no_room_for_download(needed, free).at(str(cache)))
        if is_said:
            name, commit = str(self._name), self._listed.commit
            self._watcher.note(say.note_download(name, commit, files, needed, free))

    def _require_listed_bytes(self, file: str) -> None:
        path, listed = self.folder / file, self._listed.files[file]
        if listed.lfs is not None:
            is_listed = content_digest(path) == listed.lfs.sha256
        else:
            is_listed = listed.blob_id is None or _git_digest(path) == listed.blob_id
        if not is_listed:
            blob = path.resolve()
            path.unlink()
            blob.unlink(missing_ok=True)
            raise EnvironmentFailure(say.file_differs(file).at(str(self._name)))


def _git_digest(path: Path) -> str:
    """The name that git gives to a file's content."""
    with open_model_file(path) as file:
        content = file.read()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
