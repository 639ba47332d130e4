"""Removing never steps through a link, and moving aside never takes a name that is taken."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vox_populi.files.removal import (
    free_name,
    is_own_folder,
    name_aside,
    publish_folder,
    remove_entries,
    remove_entry,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX links")


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "a").write_bytes(b"keep")
    return folder


def test_a_link_to_a_folder_is_removed_alone(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "link").symlink_to(precious)
    remove_entry(tmp_path / "link")
    assert not (tmp_path / "link").is_symlink()
    assert (precious / "a").read_bytes() == b"keep"


def test_a_folder_goes_with_its_links_and_without_what_they_lead_to(
    tmp_path: Path, precious: Path
) -> None:
    (tmp_path / "doomed").mkdir()
    (tmp_path / "doomed" / "link").symlink_to(precious)
    remove_entry(tmp_path / "doomed")
    assert not (tmp_path / "doomed").exists()
    assert (precious / "a").read_bytes() == b"keep"


def test_nothing_is_removed_behind_a_link(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "link").symlink_to(precious)
    remove_entries(tmp_path / "link", lambda _: True)
    assert (precious / "a").read_bytes() == b"keep"
    assert not is_own_folder(tmp_path / "link")
    remove_entries(precious, lambda name: name != "a")
    assert (precious / "a").read_bytes() == b"keep"
    remove_entries(precious, lambda name: name == "a")
    assert list(precious.iterdir()) == []


def test_a_dangling_link_takes_its_name(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "precious.old-1").symlink_to(tmp_path / "nowhere")
    assert free_name(precious, ".old") == tmp_path / "precious.old-2"
    assert name_aside(precious) == tmp_path / "precious.old-2"
    assert (precious / "a").read_bytes() == b"keep"


def test_a_published_folder_takes_its_place_and_keeps_the_old_one(
    tmp_path: Path, precious: Path
) -> None:
    made = tmp_path / ".made"
    made.mkdir()
    (made / "b").write_bytes(b"new")
    publish_folder(made, precious, tmp_path / "kept")
    assert [entry.name for entry in precious.iterdir()] == ["b"]
    assert (tmp_path / "kept" / "a").read_bytes() == b"keep"
    assert not made.exists()


def test_a_folder_that_cannot_be_published_leaves_the_target_as_it_was(
    tmp_path: Path, precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / ".made"
    made.mkdir()
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self == made:
            raise PermissionError(errno.EACCES, "no", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        publish_folder(made, precious, tmp_path / "kept")
    assert (precious / "a").read_bytes() == b"keep"
    assert made.is_dir()
    assert not (tmp_path / "kept").exists()
