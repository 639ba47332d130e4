"""Names of models on the Hugging Face Hub, typed or read from a folder of its cache. No network."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

DEFAULT_REVISION = "main"
COMMIT = re.compile(r"[0-9a-f]{40}")
CACHED_PREFIX = "models--"
SNAPSHOTS = "snapshots"
_PART = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?"
_NAME = re.compile(
    rf"(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9][\w.+-]*(?:/[\w.+-]+)*))?",
    re.ASCII,
)
_LONGEST_NAME = 96


class ModelParts(StrEnum):
    """Which files of a model are needed."""

    ALL = "all"
    TEXT = "text"
    """Config, tokenizer and chat template, without the weights."""


@dataclass(frozen=True, slots=True)
class HubName:
    """A model of the hub, as `org/name` or `org/name@revision`."""

    repository: str
    """`org/name`."""
    revision: str = DEFAULT_REVISION
    """A branch, a tag or a commit."""

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a whole commit hash, whose meaning never changes."""
        return COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        is_default = self.revision == DEFAULT_REVISION
        return self.repository if is_default else f"{self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class HubOrigin:
    """The model and commit that a folder of the hub's cache holds."""

    repository: str
    commit: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit}"


def parse_hub_name(text: str) -> HubName | None:
    """Read `org/name` or `org/name@revision`; `None` for anything else."""
    found = _NAME.fullmatch(text)
    if found is None or ".." in text or "--" in found["repository"]:
        return None
    if len(found["repository"]) > _LONGEST_NAME:
        return None
    return HubName(found["repository"], found["revision"] or DEFAULT_REVISION)


def hub_name_of(path: Path) -> HubName | None:
    """The hub's name that was passed in place of a path, if it can be no path here.

    A path wins: `models/base` is one where there is a folder `models`. Written with a revision,
    as in `models/base@main`, it is a name.
    """
    text = path.as_posix()
    name = parse_hub_name(text)
    if name is None or os.path.lexists(path):
        return None
    is_path = "@" not in text and os.path.lexists(path.parent)
    return None if is_path else name


def hub_origin(folder: Path) -> HubOrigin | None:
    """The model and commit of a folder in the hub's cache; `None` for other folders."""
    home = folder.resolve()
    stored = home.parent.parent.name
    is_cached = home.parent.name == SNAPSHOTS and stored.startswith(CACHED_PREFIX)
    if not is_cached:
        return None
    return HubOrigin("/".join(stored.removeprefix(CACHED_PREFIX).split("--")), home.name)


def folder_name(folder: Path) -> str:
    """What a model folder is called: the hub's name of one in its cache, else its bare name."""
    origin = hub_origin(folder)
    return folder.resolve().name if origin is None else origin.repository
