"""The hint from a run folder to its base: relative, optional, harmless when wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.files.whole_file import pretty_json
from vox_populi.runs.base_location import base_location, find_base
from vox_populi.runs.run_dir import BASE_LOCATION_FILE


def test_run_and_base_may_move_together(tmp_path: Path) -> None:
    home = tmp_path / "old"
    run, base = home / "runs" / "a", home / "models" / "tiny"
    run.mkdir(parents=True)
    base.mkdir(parents=True)
    hint = base_location(run, base)
    assert hint is not None
    assert hint["path"] == "../../models/tiny"
    (run / BASE_LOCATION_FILE).write_bytes(pretty_json(hint))
    moved = home.rename(tmp_path / "new")
    found = find_base(moved / "runs" / "a")
    assert found is not None
    assert found.samefile(moved / "models" / "tiny")


def test_folders_that_share_only_the_root_give_no_hint() -> None:
    assert base_location(Path("/one/run"), Path("/two/base")) is None


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"path": "/etc"}', b'{"path": "a\\u0000b"}', b'{"path": "no"}']
)
def test_a_broken_base_location_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / BASE_LOCATION_FILE).write_bytes(content)
    assert find_base(tmp_path) is None


def test_a_run_without_a_base_location_has_no_base(tmp_path: Path) -> None:
    assert find_base(tmp_path) is None
