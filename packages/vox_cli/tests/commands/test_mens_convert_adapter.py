from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.pipeline.convert import ConvertReport, ConvertRequest
from vox_populi.runs.adapter_place import AdapterForm

Vox = Callable[..., Any]

CONVERTED = ConvertReport(
    source_form="a .bin",
    target=AdapterForm.V3,
    output=Path("out"),
    files=("candle_qlora_adapter.safetensors", "populi_adapter_manifest_v3.json"),
    graph="full_graph_v1",
    base_quant="nf4",
    modules=6,
    rank=4,
    alpha=7.6,
    use_rslora=True,
    renamed=tuple(f"blocks.{layer}.attn.q -> l{layer}.q" for layer in range(6)),
    notes=("a note.",),
)


def test_convert_reports_its_changes(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ConvertRequest] = []

    def convert_adapter(request: ConvertRequest) -> ConvertReport:
        asked.append(request)
        return CONVERTED

    monkeypatch.setattr("vox_cli.commands.mens_convert_adapter.convert", convert_adapter)
    words = ("mens", "convert-adapter", "a.bin", "--to", "v3", "--output", "out")
    outcome = vox(*words, "--base", "b", "--meta", "m.json")
    assert asked == [
        ConvertRequest(
            source=Path("a.bin"),
            target=AdapterForm.V3,
            output=Path("out"),
            base=Path("b"),
            meta=Path("m.json"),
        )
    ]
    for text in (
        "6 modules, rank 4, alpha 7.6, rsLoRA",
        "full_graph_v1, base_quant nf4",
        "blocks.3.attn.q -> l3.q",
        "and 2 more",
        "a note.",
    ):
        assert text in outcome.out
    document = vox(*words, "--json").document
    assert (document["to"], document["base_quant"]) == ("v3", "nf4")
    assert len(document["renamed"]) == 6
    assert document["refused"] == []


def test_convert_makes_version_3_of_a_bin(vox: Vox, adapter_bin: Path, tmp_path: Path) -> None:
    outcome = vox(
        "mens", "convert-adapter", adapter_bin, "--to", "v3", "--output", tmp_path / "v3", "--json"
    )
    assert outcome.document["ok"]
    assert sorted(path.name for path in (tmp_path / "v3").iterdir()) == sorted(
        outcome.document["files"]
    )
    again = vox(
        "mens", "convert-adapter", tmp_path / "v3", "--to", "lora-bin", "--output", tmp_path / "b"
    )
    assert again.code == 0
    assert (tmp_path / "b").read_bytes() == adapter_bin.read_bytes()


def test_convert_refuses_a_taken_output_and_an_unknown_form(
    vox: Vox, adapter_bin: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").touch()
    for output, code in ((taken, "MENS-A075"), (adapter_bin.parent, "MENS-A046")):
        outcome = vox("mens", "convert-adapter", adapter_bin, "--to", "v3", "--output", output)
        assert (outcome.code, outcome.codes) == (3, [code])
    assert vox("mens", "convert-adapter", "x", "--to", "v4", "--output", "y").code == 2
