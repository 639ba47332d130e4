from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.pipeline.import_gguf import BaseDtype, ImportGgufReport, ImportGgufRequest

Vox = Callable[..., Any]

WRITTEN = ImportGgufReport(
    source=Path("m.gguf"),
    source_sha256="0123456789abcdef",
    output=Path("base"),
    files=("config.json", "model.safetensors"),
    model_type="llama",
    types={"Q4_K": 210, "F32": 61},
    dtype="bfloat16",
    tokenizer="llama-bpe",
    templates=("default",),
    total_bytes=2048,
    seconds=1.0,
    notes=("the weights are those of Q4_K.",),
)


def test_import_gguf_says_what_the_weights_are(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ImportGgufRequest] = []

    def import_model(request: ImportGgufRequest) -> ImportGgufReport:
        asked.append(request)
        return WRITTEN

    monkeypatch.setattr("vox_cli.commands.mens_import_gguf.import_model", import_model)
    words = ("mens", "import-gguf", "m.gguf", "--output-dir", "base", "--dtype", "f32")
    outcome = vox(*words)
    wanted = ImportGgufRequest(source=Path("m.gguf"), output=Path("base"), dtype=BaseDtype.F32)
    assert asked == [wanted]
    assert "210 Q4_K, 61 F32" in outcome.out
    assert "those of Q4_K" in outcome.err
    document = vox(*words, "--json").document
    assert (document["types"], document["dtype"]) == ({"Q4_K": 210, "F32": 61}, "bfloat16")


def test_a_file_that_is_no_gguf_is_refused_in_one_line(vox: Vox, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs vox-mens-cli[mens-gpu]")
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(5))
    outcome = vox("mens", "import-gguf", tmp_path / "m.gguf", "--output-dir", tmp_path / "base")
    assert (outcome.code, outcome.codes) == (3, ["MENS-H130"])
    assert len(outcome.err.splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.gguf"]


def test_a_gguf_file_as_a_model_names_the_command(vox: Vox, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(5))
    outcome = vox("mens", "generate", "--model", tmp_path / "m.gguf", "--prompt", "a")
    assert outcome.codes in (["MENS-H091"], ["MENS-X001"])
    if outcome.codes == ["MENS-H091"]:
        assert f"vox mens import-gguf {tmp_path / 'm.gguf'} --output-dir" in outcome.err
