from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi import extras
from vox_populi.export.mobile_formats import NOT_WRITTEN, MobileFormat

Vox = Callable[..., Any]


@pytest.mark.parametrize("target", sorted(NOT_WRITTEN))
def test_a_format_that_cannot_be_written_is_refused_by_name(
    vox: Vox, tmp_path: Path, target: MobileFormat
) -> None:
    out = tmp_path / "out"
    outcome = vox("mens", "export-mobile", "run", "--for", target, "--output-dir", out, "--json")
    assert outcome.code == 3
    (problem,) = outcome.document["problems"]
    assert (problem["code"], problem["where"]) == ("MENS-A563", "--for")
    assert target in problem["what"]
    assert "--for onnx" in problem["fix"]
    assert not out.exists()


def test_without_the_extra_the_install_line_is_shown(
    vox: Vox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = extras.is_installed
    monkeypatch.setattr(extras, "is_installed", lambda name: "onnx" not in name and real(name))
    out = tmp_path / "out"
    outcome = vox("mens", "export-mobile", "run", "--for", "onnx", "--output-dir", out, "--json")
    assert (outcome.code, outcome.codes) == (7, ["MENS-X001"])
    assert "onnxruntime" in outcome.document["problems"][0]["fix"]


def test_a_text_of_a_graph_has_a_limit(vox: Vox, tmp_path: Path) -> None:
    argv = ["mens", "export-mobile", "run", "--for", "onnx", "--output-dir", tmp_path / "out"]
    outcome = vox(*argv, "--seq-len", 513, "--json")
    assert outcome.code == 2
    assert outcome.document["problems"][0]["where"] == "--seq-len"
