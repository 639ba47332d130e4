"""`vox mens merge`: it asks for the merge that the adapter needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.merge.choices import MergeFormat, Onto
from vox_populi.pipeline import merge
from vox_populi.pipeline.merge import AnyMergeRequest, MergeRequest, QloraMergeRequest

Vox = Callable[..., Any]
AnyRequest = MergeRequest | QloraMergeRequest


class _Reached(Exception):  # noqa: N818 - it ends a test's call, and is no error
    """The merge was called."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[AnyRequest]:
    seen: list[AnyRequest] = []

    def take(request: AnyRequest) -> None:
        seen.append(request)
        raise _Reached

    monkeypatch.setattr(merge, "merge_weights", take)
    monkeypatch.setattr(merge, "merge_qlora", take)
    return seen


def _asked_for(asked: list[AnyRequest], request: AnyMergeRequest) -> AnyRequest:
    with pytest.raises(_Reached):
        merge.merge_adapter(request)
    return asked[-1]


def test_the_adapter_decides_which_merge_it_is(asked: list[AnyRequest], tmp_path: Path) -> None:
    lora, qlora = tmp_path / "lora", tmp_path / "qlora"
    for folder, name in ((lora, "model_final.bin"), (qlora, "candle_qlora_adapter.safetensors")):
        folder.mkdir()
        (folder / name).write_bytes(b"")
    out, base = tmp_path / "out", tmp_path / "base"
    found = _asked_for(asked, AnyMergeRequest(source=lora, output=out, model_dir=base, threads=2))
    assert found == MergeRequest(
        checkpoint=lora, output=out, model_dir=base, threads=2, output_format=MergeFormat.HF
    )
    found = _asked_for(asked, AnyMergeRequest(source=qlora, output=out, model_dir=base))
    assert found == QloraMergeRequest(adapter=qlora, output=out, base=base)
    found = _asked_for(asked, AnyMergeRequest(source=lora, output=out, onto=Onto.ORIGINAL))
    assert found == QloraMergeRequest(adapter=lora, output=out, onto=Onto.ORIGINAL)


def test_what_is_missing_is_refused_and_nothing_is_written(vox: Vox, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    outcome = vox("mens", "merge", tmp_path / "none", "--output-dir", tmp_path / "m", "--json")
    assert outcome.code == 3
    assert json.loads(outcome.out)["problems"][0]["code"] == outcome.codes[0] == "MENS-A001"
    assert list(tmp_path.iterdir()) == []
    assert vox("mens", "merge", "--output-dir", tmp_path / "m").codes == ["MENS-U001"]
