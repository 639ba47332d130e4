from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.pipeline.quantize import QuantizeReport, QuantizeRequest

Vox = Callable[..., Any]

WRITTEN = QuantizeReport(
    output=Path("out"),
    files=("config.json", "model.safetensors"),
    packed=28,
    dense=9,
    block_size=128,
    double_quant=False,
    bytes_before=4096,
    bytes_after=2048,
    seconds=1.25,
)


def test_flags_reach_the_request_and_the_report_the_reader(
    vox: Vox, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[QuantizeRequest] = []

    def quantize_model(request: QuantizeRequest) -> QuantizeReport:
        asked.append(request)
        return WRITTEN

    monkeypatch.setattr("vox_cli.commands.mens_quantize.quantize_model", quantize_model)
    words = ["mens", "quantize", "--model", "m", "--output-dir", "out"]
    outcome = vox(*words, "--block-size", "128", "--no-double-quant")
    assert "28 weights, blocks of 128, 32-bit scales" in outcome.out
    assert "2.0 KiB, was 4.0 KiB" in outcome.out
    document = vox(*words, "--json").document
    assert (document["quantised"], document["dense"], document["bytes"]) == (28, 9, 2048)
    plain = QuantizeRequest(model_dir=Path("m"), output=Path("out"))
    assert asked[1] == plain
    assert asked[0] == QuantizeRequest(
        model_dir=Path("m"), output=Path("out"), block_size=128, double_quant=False
    )
    assert (plain.block_size, plain.double_quant) == (64, True)


@pytest.mark.parametrize("size", ["63", "0", "x", "8192"])
def test_block_sizes_that_do_not_exist_are_refused(vox: Vox, tmp_path: Path, size: str) -> None:
    words = ("--model", embedded_model_dir(), "--output-dir", tmp_path / "out")
    outcome = vox("mens", "quantize", *words, "--block-size", size)
    assert outcome.code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_base_for_real(vox: Vox, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    words = ("mens", "quantize", "--model", embedded_model_dir(), "--output-dir", tmp_path / "out")
    assert vox(*words).code == 0
    assert (tmp_path / "out" / "config.json").exists()
    again = vox(*words)
    assert (again.code, again.codes) == (3, ["MENS-A075"])
    twice = ("mens", "quantize", "--model", tmp_path / "out", "--output-dir", tmp_path / "twice")
    outcome = vox(*twice)
    assert (outcome.code, outcome.codes) == (3, ["MENS-H078"])


def test_packed_weights_do_not_become_gguf(vox: Vox, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="needs vox-mens-cli[gguf]")
    packed = tmp_path / "out"
    done = vox("mens", "quantize", "--model", embedded_model_dir(), "--output-dir", packed)
    assert done.code == 0
    outcome = vox("mens", "export-gguf", packed, "--output", tmp_path / "out.gguf")
    assert (outcome.code, outcome.codes) == (3, ["MENS-H071"])
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("consumer", "loads"), [("peft", True), ("vllm", True), ("gguf", False), ("mlx", False)]
)
def test_lint_knows_who_reads_packed_weights(
    vox: Vox, tmp_path: Path, consumer: str, loads: bool
) -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    packed = tmp_path / "out"
    words = ("mens", "quantize", "--model", embedded_model_dir(), "--output-dir", packed)
    assert vox(*words).code == 0
    outcome = vox("mens", "lint", packed, "--for", consumer)
    assert outcome.code == (0 if loads else 3)
    assert outcome.codes == ([] if loads else ["MENS-A072"])
