from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.hf.hub_cache import cache_folder, cached_commit, cached_folder, lacking_files
from vox_populi.hf.hub_name import HubName, ModelParts

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = HubName("org/name")
VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in the cache, as the hub's library lays it out."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT, encoding="ascii")
    blobs, folder = repository / "blobs", repository / "snapshots" / COMMIT
    blobs.mkdir()
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (blobs / name).write_bytes(b"{}")
        (folder / name).symlink_to(blobs / name)
    return folder


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ".cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "~/x"}, "x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "~/x", "HF_HOME": "$HOME/y"}, "y/hub"),
        ({"HF_HOME": "~/y", "HUGGINGFACE_HUB_CACHE": "~/z"}, "z"),
        ({"HF_HOME": "~/y", "HF_HUB_CACHE": "~/c", "HUGGINGFACE_HUB_CACHE": "~/z"}, "c"),
    ],
)
def test_the_cache_is_where_the_hubs_library_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == tmp_path / expected


def test_a_branch_and_a_commit_are_found(snapshot: Path) -> None:
    assert cached_folder(NAME) == snapshot
    assert cached_folder(HubName("org/name", COMMIT)) == snapshot
    assert cached_folder(HubName("org/name", "v1")) is None
    assert cached_folder(HubName("org/other")) is None
    assert cached_folder(HubName("org/name", "f" * 40)) is None


@pytest.mark.parametrize("content", [b"", b"../../x", b"\xff" * 40, b"a" * 5000])
def test_a_broken_branch_is_no_commit(snapshot: Path, content: bytes) -> None:
    (snapshot.parents[1] / "refs" / "main").write_bytes(content)
    assert cached_commit(NAME) is None


def test_what_did_not_arrive_is_named(snapshot: Path) -> None:
    assert lacking_files(snapshot) == ()
    (snapshot.parents[1] / "blobs" / "model.safetensors").unlink()
    assert lacking_files(snapshot) == ("model.safetensors",)
    assert lacking_files(snapshot, ModelParts.TEXT) == ()
    (snapshot / "config.json").unlink()
    assert lacking_files(snapshot) == ("config.json",)
