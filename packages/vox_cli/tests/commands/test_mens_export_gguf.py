from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi import extras
from vox_populi.export.consumers import GgufType, GgufTypeChoice
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.pipeline.gguf import GgufReport, GgufRequest

Vox = Callable[..., Any]

WRITTEN = GgufReport(
    output=Path("m.gguf"),
    modelfile=Path("m.Modelfile"),
    kind=GgufType.Q8_0,
    tensors=30,
    total_bytes=2048,
    pre_tokenizer="qwen2",
    context=4096,
)


def test_export_gguf_reports_what_was_compared(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GgufRequest] = []

    def export_gguf(request: GgufRequest) -> GgufReport:
        asked.append(request)
        return WRITTEN

    monkeypatch.setattr("vox_cli.commands.mens_export_gguf.export", export_gguf)
    words = ("mens", "export-gguf", "m", "--type", "q8_0", "--output", "m.gguf")
    outcome = vox(*words)
    wanted = GgufTypeChoice.Q8_0
    assert asked == [GgufRequest(source=Path("m"), output=Path("m.gguf"), kind=wanted)]
    assert "30, all read back and compared" in outcome.out
    assert "4,096 tokens" in outcome.out
    document = vox(*words, "--json").document
    assert (document["type"], document["tensors"], document["bytes"]) == ("q8_0", 30, 2048)


def test_without_the_extra_it_says_how_to_get_it(
    vox: Vox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "gguf")
    outcome = vox("mens", "export-gguf", tmp_path, "--output", tmp_path / "m.gguf")
    assert outcome.code == 7
    assert extras.install_line("gguf") in outcome.err


def test_a_vocabulary_unknown_to_llama_cpp_is_refused(vox: Vox, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="needs vox-mens-cli[gguf]")
    folder = tmp_path / "model"
    shutil.copytree(embedded_model_dir(), folder)
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(raw | {"pre_tokenizer": {"type": "Whitespace"}}), encoding="utf-8")
    outcome = vox("mens", "export-gguf", folder, "--output", tmp_path / "m.gguf")
    assert (outcome.code, outcome.codes) == (3, ["MENS-A076"])
    assert list(tmp_path.iterdir()) == [folder]
    # What lint says beforehand is the same sentence.
    assert vox("mens", "lint", folder, "--for", "gguf").err == outcome.err
