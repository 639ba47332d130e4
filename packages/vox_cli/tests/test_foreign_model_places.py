"""A GGUF file, or a name on the hub, where a command takes a model, a run or an adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs vox-mens-cli[mens-gpu]")

Vox = Callable[..., Any]

ROW = '{"prompt": "Name a colour.", "response": "red"}\n'
TAKE_A_GGUF_FILE = [
    "train --data {rows} --output-dir out --model",
    "preview --data {rows} --model",
    "generate --prompt x --model",
    "generate --prompt x",
    "eval --data {rows} --model",
    "eval --data {rows}",
    "eval-local --tasks {rows} --model",
    "serve",
    "merge --output-dir out",
    "merge-weights --output-dir out",
    "merge-qlora --output-dir out",
    "convert-adapter --to peft --output out",
    "export-adapter --for peft --output-dir out",
    "export-gguf --output out.gguf",
    "quantize --output-dir out --model",
    "lint",
]
EXTRAS = {"serve": ("starlette", "serve"), "export-gguf": ("gguf", "gguf")}
"""What commands need before they look at anything."""


def require_extra(words: str) -> None:
    module, extra = EXTRAS.get(words.split()[0], ("torch", "mens-gpu"))
    pytest.importorskip(module, reason=f"needs vox-mens-cli[{extra}]")


@pytest.mark.parametrize("words", TAKE_A_GGUF_FILE)
def test_a_gguf_file_is_named_by_every_command(
    vox: Vox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    require_extra(words)
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text(ROW, encoding="utf-8")
    Path("model-q8_0.gguf").write_bytes(b"GGUF\x03\0\0\0")
    done = vox("mens", *words.format(rows="rows.jsonl").split(), "model-q8_0.gguf")
    assert (done.code, done.codes) == (3, ["MENS-H091"]), done.err
    assert "vox mens import-gguf model-q8_0.gguf" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model-q8_0.gguf", "rows.jsonl"]


@pytest.mark.parametrize("words", ["serve", "lint", "generate --prompt x --model"])
def test_a_name_on_the_hub_is_named_too(
    vox: Vox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    require_extra(words)
    monkeypatch.chdir(tmp_path)
    done = vox("mens", *words.split(), "meta-llama/Llama-3.2-1B")
    assert (done.code, done.codes) == (3, ["MENS-H090"]), done.err
