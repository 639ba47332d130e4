"""Export and import through the command line, on the embedded base."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.export.consumers import Consumer
from vox_populi.pipeline.export import ExportReport, ExportRequest

Vox = Callable[..., Any]

EXPORTED = ExportReport(
    consumer=Consumer.VLLM,
    output_dir=Path("out"),
    files=("adapter_config.json", "adapter_model.safetensors"),
    modules=8,
    rank=4,
    alpha=6.0,
    renamed=("a -> b",),
    rescaled=("B x 2",),
    notes=("a note",),
)


def test_export_reports_its_changes(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ExportRequest] = []

    def export_adapter(request: ExportRequest) -> ExportReport:
        asked.append(request)
        return EXPORTED

    monkeypatch.setattr("vox_cli.commands.mens_export_adapter.export", export_adapter)
    words = ("mens", "export-adapter", "runs/x", "--for", "vllm", "--output-dir", "out")
    outcome = vox(*words)
    assert asked == [
        ExportRequest(source=Path("runs/x"), consumer=Consumer.VLLM, output_dir=Path("out"))
    ]
    for line in ("renamed     a -> b", "rescaled    B x 2", "refused     nothing", "a note"):
        assert line in outcome.out
    document = vox(*words, "--json").document
    assert (document["for"], document["renamed"], document["rescaled"], document["refused"]) == (
        "vllm",
        ["a -> b"],
        ["B x 2"],
        [],
    )


def test_an_unknown_consumer_is_a_usage_error(vox: Vox) -> None:
    outcome = vox("mens", "export-adapter", "x", "--for", "pytorch", "--output-dir", "out")
    assert outcome.code == 2


def test_nothing_there_is_refused(vox: Vox, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    (tmp_path / "empty").mkdir()
    outcome = vox(
        "mens",
        "export-adapter",
        tmp_path / "empty",
        "--for",
        "peft",
        "--output-dir",
        tmp_path / "out",
    )
    assert outcome.code == 3
    assert outcome.codes == ["MENS-A022"]
    assert not (tmp_path / "out").exists()


def test_an_adapter_goes_out_and_comes_back(vox: Vox, tmp_path: Path, adapter_bin: Path) -> None:
    peft, again = tmp_path / "peft", tmp_path / "again"
    imported = tmp_path / "imported.bin"
    assert (
        vox("mens", "export-adapter", adapter_bin, "--for", "peft", "--output-dir", peft).code == 0
    )
    assert vox("mens", "lint", peft, "--for", "peft,gguf").code == 0
    outcome = vox("mens", "import-adapter", peft, "--output", imported, "--json")
    assert outcome.document["rank"] == 2
    assert outcome.document["base"] == "vox-nano"
    assert vox("mens", "export-adapter", imported, "--for", "peft", "--output-dir", again).code == 0
    handoff = again / "external_serving_handoff_v2.json"
    assert json.loads(handoff.read_bytes())["trained_seq_len"] is None, "it is an import"
    handoff.unlink()
    for entry in again.iterdir():
        assert (peft / entry.name).read_bytes() == entry.read_bytes()
    names = {entry.name for entry in again.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}


@pytest.mark.parametrize("consumer", ["vllm", "gguf", "mlx"])
def test_what_is_exported_passes_its_own_lint(
    vox: Vox, tmp_path: Path, adapter_bin: Path, consumer: str
) -> None:
    out = tmp_path / "out"
    words = ("mens", "export-adapter", adapter_bin, "--for", consumer, "--output-dir", out)
    assert vox(*words, "--json").document["files"]
    assert vox("mens", "lint", out, "--for", consumer).code == 0


def test_an_output_that_is_taken_stays_as_it_is(
    vox: Vox, tmp_path: Path, adapter_bin: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"1")
    words = ("mens", "export-adapter", adapter_bin, "--for", "peft", "--output-dir")
    outcome = vox(*words, tmp_path / "out")
    assert (outcome.code, outcome.codes) == (3, ["MENS-A075"])
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["mine"]


def test_an_import_replaces_nothing(vox: Vox, tmp_path: Path, adapter_bin: Path) -> None:
    before = adapter_bin.read_bytes()
    outcome = vox("mens", "import-adapter", tmp_path, "--output", adapter_bin)
    # Nothing to import is there either, and both are said.
    assert (outcome.code, outcome.codes) == (3, ["MENS-A060", "MENS-A075"])
    assert adapter_bin.read_bytes() == before


def test_an_import_names_what_it_cannot_represent(
    vox: Vox, tmp_path: Path, adapter_bin: Path
) -> None:
    peft = tmp_path / "peft"
    vox("mens", "export-adapter", adapter_bin, "--for", "peft", "--output-dir", peft)
    config = peft / "adapter_config.json"
    changed = json.loads(config.read_text(encoding="utf-8")) | {"use_dora": True}
    config.write_text(json.dumps(changed), encoding="utf-8")
    outcome = vox("mens", "import-adapter", peft, "--output", tmp_path / "b.bin")
    assert (outcome.code, outcome.codes) == (3, ["MENS-A062"])
    assert "use_dora" in outcome.err
    assert not (tmp_path / "b.bin").exists()
