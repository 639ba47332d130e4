"""What an exported adapter calls its base."""

from __future__ import annotations

from pathlib import Path

from vox_populi.export.base_name import loadable_name


def test_a_folder_is_its_absolute_path(tmp_path: Path) -> None:
    assert loadable_name(tmp_path / "a" / ".." / "base") == str(tmp_path.resolve() / "base")


def test_a_folder_of_the_hub_s_cache_is_a_name(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--some--model" / "snapshots" / "1f"
    snapshot.mkdir(parents=True)
    assert loadable_name(snapshot) == "org/some/model"
