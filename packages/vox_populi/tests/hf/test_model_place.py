from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.errors import ModelError
from vox_populi.files.known_names import MANIFEST_FILE, PEFT_CONFIG_FILE, REQUEST_FILE
from vox_populi.hf.model_config import CONFIG_NAME, read_model_config
from vox_populi.hf.model_place import model_place_problem


@pytest.mark.parametrize(
    ("name", "entries", "code"),
    [
        ("gone", None, "MENS-H001"),
        ("empty", {}, None),
        ("model", {CONFIG_NAME: b"{}", PEFT_CONFIG_FILE: b"{}", "x.gguf": b"GGUF"}, None),
        ("adapter", {PEFT_CONFIG_FILE: b"{}"}, "MENS-H092"),
        ("run", {REQUEST_FILE: b"{}"}, "MENS-H093"),
        ("finished", {MANIFEST_FILE: b"{}"}, "MENS-H093"),
        ("quantised", {"model-q8_0.gguf": b"GGUF"}, "MENS-H091"),
    ],
)
def test_a_folder_passed_as_a_model_is_recognised(
    tmp_path: Path, name: str, entries: dict[str, bytes] | None, code: str | None
) -> None:
    if entries is not None:
        (tmp_path / name).mkdir()
        for entry, content in entries.items():
            (tmp_path / name / entry).write_bytes(content)
    problem = model_place_problem(tmp_path / name)
    assert (problem and problem.code) == code
    if code is not None:
        with pytest.raises(ModelError, match=code):
            read_model_config(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "code"), [(b"GGUF\x03\0\0\0", "MENS-H091"), (b"\x08\0", "MENS-H001")]
)
def test_a_file_passed_as_a_model_is_recognised(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    problem = model_place_problem(tmp_path / "model.bin")
    assert problem is not None
    assert problem.code == code


def test_a_name_of_the_hub_is_told_how_to_fetch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    problem = model_place_problem(Path("meta-llama/Llama-3.2-1B"))
    assert problem is not None
    assert problem.code == "MENS-H090"
    assert "hf download meta-llama/Llama-3.2-1B --local-dir models/Llama-3.2-1B" in problem.fix


@pytest.mark.parametrize("where", ["models/nix", "a/b/c", "./a/b", "../a/b", "gpt2", "/a/b"])
def test_a_path_is_not_taken_for_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path)
    problem = model_place_problem(Path(where) if where != "../a/b" else tmp_path / "a" / "b")
    assert problem is not None
    # `./a/b` is the same path as `a/b` once it is one.
    assert problem.code == ("MENS-H090" if where == "./a/b" else "MENS-H001")
