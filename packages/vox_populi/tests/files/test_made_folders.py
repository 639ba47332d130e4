from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.files.made_folders import made_folder


def test_folders_stay_when_the_body_succeeds(tmp_path: Path) -> None:
    with made_folder(tmp_path / "a" / "b"):
        pass
    assert (tmp_path / "a" / "b").is_dir()


def test_only_folders_it_made_and_left_empty_go_when_the_body_raises(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyError), made_folder(tmp_path / "mine" / "a" / "b"):
        raise KeyError
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_folder_that_got_something_stays(tmp_path: Path) -> None:
    def fill() -> None:
        with made_folder(tmp_path / "mine" / "a" / "b"):
            (tmp_path / "mine" / "a" / "kept").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fill()
    assert (tmp_path / "mine" / "a" / "kept").exists()
    assert not (tmp_path / "mine" / "a" / "b").exists()
