"""A model for a device is written, run and compared; what differs is not published."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
pytest.importorskip("onnxscript", reason="needs vox-populi[onnx]")
pytest.importorskip("onnxruntime", reason="needs vox-populi[onnx]")

import torch

from packages.vox_populi.tests.schemas import meets_schema
from vox_populi import extras
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ArtifactError, ConfigError, MergeMismatchError
from vox_populi.export.device_model import DeviceModel, first_difference
from vox_populi.export.mobile_formats import WRITTEN, MobileFormat
from vox_populi.export.mobile_graph import MobileGraph
from vox_populi.export.onnx_file import run_onnx
from vox_populi.pipeline import export_mobile_run
from vox_populi.pipeline.export_mobile import MobileRequest, export_mobile
from vox_populi.pipeline.train import RunOptions, run_training
from vox_tensor.lora_spec import LoraSpec

MakeContract = Callable[..., FinetuneContract]


@pytest.fixture
def run(make_contract: MakeContract) -> Path:
    return run_training(make_contract(), RunOptions()).run


def request(source: Path, output: Path, **changes: object) -> MobileRequest:
    settings = {"target": MobileFormat.ONNX, "seq_len": 80, "check_tokens": 4, **changes}
    return MobileRequest(source=source, output_dir=output, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "is_fixed",
    [
        True,
        pytest.param(
            False,
            marks=pytest.mark.skipif(
                "SLOW_TESTS" not in os.environ, reason="torch.export takes 10 s with any length"
            ),
        ),
    ],
)
def test_a_run_becomes_a_graph_that_answers_as_it_does(
    run: Path, tmp_path: Path, is_fixed: bool
) -> None:
    out = tmp_path / "mobile"
    report = export_mobile(request(run, out, fixed_length=is_fixed))
    assert report.prompts >= 1
    assert report.max_difference < 1e-3
    names = {path.name for path in out.iterdir()}
    assert names == set(report.files)
    assert names >= {"model.onnx", "tokenizer.json", "chat_template.jinja"}
    receipt = json.loads((out / "mobile_export_receipt.json").read_bytes())
    assert len(receipt["compared"]["prompts"]) == report.prompts
    for name, digest in receipt["written"].items():
        assert digest == f"sha256:{hashlib.sha256((out / name).read_bytes()).hexdigest()}"
    handoff = json.loads((out / "external_serving_handoff_v2.json").read_bytes())
    assert meets_schema(handoff, "external-serving-handoff-v2")
    assert handoff["dtype"] == "float32"
    assert str(tmp_path) not in json.dumps([receipt, handoff])
    model = DeviceModel(run_onnx(out / "model.onnx"), 80, is_fixed=is_fixed)
    prompt, answer = receipt["compared"]["prompts"][0], receipt["compared"]["answers"][0]
    assert model.answer(prompt, 4, receipt["stop_ids"]) == tuple(answer)


def test_ids_of_a_fixed_length_are_padded_behind_the_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[list[int]] = []

    class Session:
        def __init__(self, *_: object) -> None:
            pass

        def run(self, names: list[str], inputs: dict[str, Any]) -> list[Any]:
            ids = inputs["input_ids"]
            seen.append(ids[0].tolist())
            scores = torch.zeros(*ids.shape, 9)
            scores[0, torch.arange(ids.shape[1]), torch.arange(ids.shape[1]) + 1] = 1.0
            return [scores.numpy()]

    runtime = SimpleNamespace(SessionOptions=SimpleNamespace, InferenceSession=Session)
    monkeypatch.setattr(extras, "load", lambda _: runtime)
    model = DeviceModel(run_onnx(tmp_path / "m"), 6, is_fixed=True)
    assert model.answer([5, 5], 3, {4}) == (2, 3)
    assert seen == [[5, 5, 0, 0, 0, 0], [5, 5, 2, 0, 0, 0], [5, 5, 2, 3, 0, 0]]


def test_a_graph_that_answers_otherwise_is_not_published(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(graph: object, path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"graph")

    def wrong(ids: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(1, ids.shape[1], 264)
        scores[..., 7] = 1.0
        return scores

    programs = {MobileFormat.ONNX: (write, lambda _: wrong)}
    monkeypatch.setattr(export_mobile_run, "PROGRAMS", programs)
    out = tmp_path / "mobile"
    with pytest.raises(MergeMismatchError, match=r"MENS-A568.*prompt 1"):
        export_mobile(request(run, out))
    assert not out.exists()


def test_a_format_of_one_length_takes_exactly_that_many_ids(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = replace(WRITTEN[MobileFormat.EXECUTORCH], modules=(), distributions=("torch",))
    monkeypatch.setattr(
        "vox_populi.pipeline.export_mobile.WRITTEN", {MobileFormat.EXECUTORCH: facts}
    )
    monkeypatch.setattr(export_mobile_run, "WRITTEN", {MobileFormat.EXECUTORCH: facts})
    graphs: list[MobileGraph] = []
    lengths: set[tuple[int, ...]] = set()

    def write(graph: MobileGraph, path: Path, most_tokens: int, *, is_fixed: bool) -> None:
        assert (most_tokens, is_fixed) == (80, True)
        graphs.append(graph)
        path.write_bytes(b"graph")

    def scores(ids: torch.Tensor) -> torch.Tensor:
        lengths.add(tuple(ids.shape))
        with torch.no_grad():
            given: torch.Tensor = graphs[0](ids)
        return given

    programs = {MobileFormat.EXECUTORCH: (write, lambda _: scores)}
    monkeypatch.setattr(export_mobile_run, "PROGRAMS", programs)
    out = tmp_path / "mobile"
    report = export_mobile(request(run, out, target=MobileFormat.EXECUTORCH))
    assert (report.fixed_length, lengths) == (True, {(1, 80)})
    receipt = json.loads((out / "mobile_export_receipt.json").read_bytes())
    assert receipt["graph"]["file"] == "model.pte"
    assert receipt["graph"]["inputs"] == {"input_ids": [1, 80]}
    assert receipt["versions"].keys() == {"torch"}


def test_a_graph_without_a_program_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"MENS-V050.*--for onnx"):
        export_mobile(request(run, tmp_path / "mobile", target=None))


def test_limits_of_a_device_are_told(
    make_contract: MakeContract, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mobile"
    with pytest.raises(ConfigError, match="MENS-A566"):
        export_mobile(request(run, out, seq_len=500))
    with pytest.raises(ConfigError, match="MENS-A567"):
        export_mobile(request(run, out, seq_len=3))
    large = make_contract(output_dir=tmp_path / "large", lora=LoraSpec(rank=33, alpha=33.0))
    wide = run_training(large, RunOptions()).run
    with pytest.raises(ArtifactError, match="MENS-A565"):
        export_mobile(request(wide, out))
    assert not out.exists()


def test_a_base_in_4_bits_is_refused(make_qlora: MakeContract, tmp_path: Path) -> None:
    trained = run_training(make_qlora(), RunOptions()).run
    with pytest.raises(ArtifactError, match=r"MENS-A564.*merge-qlora"):
        export_mobile(request(trained, tmp_path / "mobile"))


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [((), (), None), ((1, 2), (1, 2), None), ((1, 2), (1, 3), 1), ((1,), (1, 2), 1), ((), (1,), 0)],
)
def test_the_first_difference_of_answers(
    one: tuple[int, ...], other: tuple[int, ...], place: int | None
) -> None:
    assert first_difference(one, other) == place
