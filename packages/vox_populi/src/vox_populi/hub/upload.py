"""Sending files to the Hugging Face Hub, with the hub's own client, as one commit.

Weights are sent first, one file after the other, and each that arrived is known to the hub by its
digest: an upload that is run again sends only what is missing. They are handed over as open
files, which the client sends over HTTP in the form of Git LFS (decision 0043).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils.tqdm import disable_progress_bars

from vox_populi.errors import ArtifactError, EnvironmentFailure
from vox_populi.hf.hub_name import DEFAULT_REVISION, HubName
from vox_populi.hub.counted_file import CountedFile
from vox_populi.hub.hub_client import hub_api
from vox_populi.hub.sending_failures import sending_failures
from vox_populi.hub.sent_files import SentFile
from vox_populi.hub.transfer import TransferWatcher
from vox_populi.operator_messages import push as say

_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".msgpack", ".onnx")
_MESSAGE = "Upload with vox mens push"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedCommit:
    """What the hub has now."""

    url: str
    commit: str
    is_private: bool


def send_files(
    name: HubName,
    files: Sequence[SentFile],
    watcher: TransferWatcher,
    *,
    public: bool,
    force: bool,
) -> PushedCommit:
    """Send files in one commit; the repository and the branch are made if they are not there.

    Args:
        name: Repository and branch.
        files: All files; others of the repository stay.
        watcher: Is told what is sent.
        public: Whether everybody may read a repository that is made, or that is public already.
        force: Whether weights that are not among the files may stay beside them.

    Raises:
        ArtifactError: For a public repository without `public`, or one with other weights.
        EnvironmentFailure: When the network, the token or the hub's limits are in the way.
        ConfigError: For a name that the hub refuses.
    """
    if get_token() is None:
        raise EnvironmentFailure(say.no_token(str(name)))
    disable_progress_bars()
    api = hub_api()
    with sending_failures(name):
        info = _repository(api, name, public=public)
        is_private = bool(info.private)
        if not is_private and not public:
            raise ArtifactError(say.repository_is_public(name.repository))
        _make_branch(api, name)
        if not force:
            _refuse_other_weights(api, name, info, files)
    size = sum(each.size for each in files)
    watcher.note(say.note_uploading(str(name), len(files), size, is_private=is_private))
    with sending_failures(name, is_started=True):
        commit = _send(api, name, files, watcher)
    if is_private and public:
        watcher.note(say.note_stays_private(name.repository))
    return PushedCommit(
        url=f"{api.endpoint}/{name.repository}", commit=commit, is_private=is_private
    )


def _repository(api: HfApi, name: HubName, *, public: bool) -> ModelInfo:
    """The repository, which is made if it is not there or not visible."""
    try:
        return api.model_info(name.repository)
    except RepositoryNotFoundError:
        api.create_repo(name.repository, private=not public)
        return api.model_info(name.repository)


def _make_branch(api: HfApi, name: HubName) -> None:
    if name.revision != DEFAULT_REVISION:
        api.create_branch(name.repository, branch=name.revision, exist_ok=True)


def _refuse_other_weights(
    api: HfApi, name: HubName, info: ModelInfo, files: Sequence[SentFile]
) -> None:
    if name.revision != DEFAULT_REVISION:
        info = api.model_info(name.repository, revision=name.revision)
    ours = {each.name for each in files}
    there = [each.rfilename for each in info.siblings or ()]
    others = [each for each in there if each.endswith(_WEIGHTS) and each not in ours]
    if others:
        raise ArtifactError(say.repository_has_other_weights(str(name), others[:3]))


def _send(api: HfApi, name: HubName, files: Sequence[SentFile], watcher: TransferWatcher) -> str:
    """Send the weights, then commit everything; returns the commit."""
    total = sum(each.size for each in files if isinstance(each.content, Path))
    done = 0
    with ExitStack() as opened, warnings.catch_warnings():
        # The hub's advice on the card, and what the client does that other libraries deprecate.
        warnings.simplefilter("ignore")
        opened.callback(watcher.close)
        operations = []
        for each in files:
            if not isinstance(each.content, Path):
                operations.append(CommitOperationAdd(each.name, each.content))
                continue
            file = opened.enter_context(
                CountedFile(each.content, partial(_count, watcher, done, total))
            )
            operation = CommitOperationAdd(each.name, file)
            file.is_sent = True
            api.preupload_lfs_files(name.repository, [operation], revision=name.revision)
            file.is_sent = False
            done += each.size
            operations.append(operation)
        sent = api.create_commit(
            name.repository, operations, commit_message=_MESSAGE, revision=name.revision
        )
    return sent.oid


def _count(watcher: TransferWatcher, before: int, total: int, position: int) -> None:
    """Tell the bytes of the files before, and those of the file that is on its way."""
    watcher.progress(before + position, total)
