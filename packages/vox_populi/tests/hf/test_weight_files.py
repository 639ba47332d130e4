from __future__ import annotations

import json
from pathlib import Path

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.weight_files import INDEX_NAME, SINGLE_NAME, find_weight_files


def write_index(folder: Path, content: object) -> None:
    (folder / INDEX_NAME).write_text(json.dumps(content), encoding="utf-8")


def report_of(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        find_weight_files(folder)
    return str(caught.value)


def test_a_single_weight_file_needs_no_index(tmp_path: Path) -> None:
    (tmp_path / SINGLE_NAME).touch()
    files = find_weight_files(tmp_path)
    assert (files.shards, files.promised) == ((SINGLE_NAME,), None)


def test_shards_come_sorted_with_what_they_hold(tmp_path: Path) -> None:
    write_index(tmp_path, {"weight_map": {"x": "b.safetensors", "y": "a.safetensors"}})
    files = find_weight_files(tmp_path)
    assert files.shards == ("a.safetensors", "b.safetensors")
    assert files.promised == {
        "a.safetensors": frozenset({"y"}),
        "b.safetensors": frozenset({"x"}),
    }


LEADING_OUT = {
    "parent": "../x.safetensors",
    "absolute": "/etc/x.safetensors",
    "folder": "sub/x.safetensors",
    "backslash": "..\\x.safetensors",
    "drive": "C:x.safetensors",
    "address": "http://example.invalid/x.safetensors",
    "NUL": "x\0.safetensors",
    "dots": "..",
    "dot": ".",
    "empty": "",
    "device": "nul.safetensors",
    "line break": "x\n.safetensors",
    "too long": "x" * 300 + ".safetensors",
    "pickle": "pytorch_model.bin",
    "number": 3,
    "null": None,
    "list": ["x.safetensors"],
}


@pytest.mark.parametrize("name", LEADING_OUT.values(), ids=LEADING_OUT.keys())
def test_only_bare_names_are_followed(tmp_path: Path, name: object) -> None:
    write_index(tmp_path, {"weight_map": {"ok": "a.safetensors", "tensor": name}})
    report = report_of(tmp_path)
    assert report.startswith("[MENS-H032]")
    assert "the entry tensor" in report
    assert "the entry ok" not in report


@pytest.mark.parametrize(
    "content", [{}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": None}]
)
def test_an_index_without_a_map_is_refused(tmp_path: Path, content: object) -> None:
    write_index(tmp_path, content)
    assert "weight_map" in report_of(tmp_path)


def test_a_tensor_named_twice_in_the_index_is_refused(tmp_path: Path) -> None:
    text = '{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}'
    (tmp_path / INDEX_NAME).write_text(text, encoding="utf-8")
    assert "MENS-H006" in report_of(tmp_path)


def test_no_weights_and_what_is_there_instead(tmp_path: Path) -> None:
    assert "MENS-H030" in report_of(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    assert "pytorch_model.bin" in report_of(tmp_path)


def test_two_sets_of_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / SINGLE_NAME).touch()
    write_index(tmp_path, {"weight_map": {"x": "a.safetensors"}})
    assert "MENS-H031" in report_of(tmp_path)
    write_index(tmp_path, {"weight_map": {"x": SINGLE_NAME}})
    assert find_weight_files(tmp_path).shards == (SINGLE_NAME,)
