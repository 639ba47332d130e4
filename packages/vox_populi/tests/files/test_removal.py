"""Removing never steps through a link, and moving aside never takes a name that is taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vox_populi.files.removal import (
    free_name,
    is_own_folder,
    move_aside,
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
    assert move_aside(precious) == tmp_path / "precious.old-2"
    assert (tmp_path / "precious.old-2" / "a").read_bytes() == b"keep"
