from __future__ import annotations

from pathlib import Path

import pytest

import vox_populi
from vox_populi.errors import ModelError
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir


def test_an_installation_without_the_model_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(vox_populi, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ModelError, match="MENS-H060") as caught:
        embedded_model_dir()
    assert caught.value.problems[0].where == EMBEDDED_NAME
    (tmp_path / "vox_nano").mkdir()
    (tmp_path / "vox_nano" / "config.json").touch()
    assert embedded_model_dir() == tmp_path / "vox_nano"
