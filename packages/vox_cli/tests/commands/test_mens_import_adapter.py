from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.pipeline.import_peft import ImportReport, ImportRequest

Vox = Callable[..., Any]

IMPORTED = ImportReport(
    output=Path("a.bin"),
    base="base",
    modules=8,
    rank=4,
    alpha=8.0,
    use_rslora=True,
    notes=("a note.",),
)


def test_import_reports_what_it_read(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ImportRequest] = []

    def import_adapter(request: ImportRequest) -> ImportReport:
        asked.append(request)
        return IMPORTED

    monkeypatch.setattr("vox_cli.commands.mens_import_adapter.import_peft", import_adapter)
    outcome = vox("mens", "import-adapter", "peft", "--model", "base", "--output", "a.bin")
    assert asked == [
        ImportRequest(source=Path("peft"), output=Path("a.bin"), model_dir=Path("base"))
    ]
    assert "8 modules, rank 4, alpha 8, rsLoRA" in outcome.out
    assert outcome.err == "note: a note.\n"
    document = vox("mens", "import-adapter", "peft", "--output", "a.bin", "--json").document
    assert (document["rank"], document["use_rslora"], document["notes"]) == (4, True, ["a note."])


def test_import_without_a_folder_is_refused(vox: Vox, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    outcome = vox("mens", "import-adapter", tmp_path / "no", "--output", tmp_path / "a.bin")
    assert (outcome.code, outcome.codes) == (3, ["MENS-A060"])
