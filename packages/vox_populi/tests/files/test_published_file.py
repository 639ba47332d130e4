"""What is published with a model comes from its folder, wherever its links lead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vox_populi.errors import ModelError
from vox_populi.files.published_file import read_published_file

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX links")


def test_a_file_and_a_link_within_the_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_bytes(b"free")
    (tmp_path / "NOTICE").symlink_to("LICENSE")
    for name in ("LICENSE", "NOTICE"):
        assert read_published_file(tmp_path / name, tmp_path) == b"free"
    (tmp_path / "same").symlink_to(tmp_path)
    assert read_published_file(tmp_path / "same" / "NOTICE", tmp_path / "same") == b"free"


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "../folder/secret"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (tmp_path / "folder").mkdir()
    for secret in (tmp_path / "secret", tmp_path / "folder" / "secret"):
        secret.write_bytes(b"secret")
    (model / "LICENSE").symlink_to(target)
    with pytest.raises(ModelError, match=r"MENS-A101.*LICENSE"):
        read_published_file(model / "LICENSE", model)


def test_a_linked_folder_of_templates_is_refused_as_well(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jinja").write_bytes(b"x")
    model = tmp_path / "model"
    model.mkdir()
    (model / "templates").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="MENS-A101"):
        read_published_file(model / "templates" / "a.jinja", model)


def test_the_cache_of_the_hub_is_one_folder(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b/snapshots/1f"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "0a").write_bytes(b"free")
    (snapshot / "LICENSE").symlink_to("../../blobs/0a")
    assert read_published_file(snapshot / "LICENSE", snapshot) == b"free"
    (tmp_path / "secret").write_bytes(b"secret")
    (snapshot / "NOTICE").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="MENS-A101"):
        read_published_file(snapshot / "NOTICE", snapshot)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "LICENSE")
    with pytest.raises(ModelError, match="MENS-H004"):
        read_published_file(tmp_path / "LICENSE", tmp_path)
