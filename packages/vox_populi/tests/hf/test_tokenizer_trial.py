"""Tokenizers that would never end, or take all memory: refused in one line, in seconds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf import tokenizer_trial
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.hf_tokenizer import load_hf_tokenizer

pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(**parts: Any) -> Path:
        definition = json.loads((embedded_model_dir() / "tokenizer.json").read_text("utf-8"))
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps({**definition, **parts}), "utf-8")
        return path

    return make


def split_at(regex: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    byte_level |= {"trim_offsets": True}
    return {"type": "Sequence", "pretokenizers": [split, byte_level]}


def replacing(text: str, content: str, times: int) -> dict[str, Any]:
    part = {"type": "Replace", "pattern": {"String": text}, "content": content}
    return {"type": "Sequence", "normalizers": [part] * times}


@pytest.mark.parametrize("normalizer", [replacing("e", "e" * 100_000, 2), replacing("z", "zz", 34)])
def test_replacements_that_explode_are_refused_unused(
    write: Write, normalizer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(ModelError, match="MENS-H080"):
        load_hf_tokenizer(write(normalizer=normalizer))


def test_a_pattern_without_end_is_refused_after_its_trial(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(pre_tokenizer=split_at("(x+x+)+y"))
    with pytest.raises(ModelError, match="MENS-H080"):
        load_hf_tokenizer(path)
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(ModelError, match="MENS-H080"):
        load_hf_tokenizer(path)


def test_a_harmless_nested_pattern_passes_its_trial_once(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(pre_tokenizer=split_at("(?:\\r?\\n)+|(?:a+!)*z"))
    assert load_hf_tokenizer(path).encode("maa!")
    monkeypatch.setattr(subprocess, "run", None)
    assert load_hf_tokenizer(path).encode("maa!")


class Limits:
    """A system with a hard limit of its own, and one that takes no bound on memory."""

    RLIMIT_AS, RLIMIT_CPU, RLIMIT_CORE, RLIM_INFINITY = 1, 2, 3, -1

    def __init__(self) -> None:
        self.taken: dict[int, tuple[int, int]] = {}

    def getrlimit(self, kind: int) -> tuple[int, int]:
        return (-1, 2 if kind == self.RLIMIT_CPU else -1)

    def setrlimit(self, kind: int, limits: tuple[int, int]) -> None:
        if kind == self.RLIMIT_AS:
            message = "current limit exceeds maximum limit"
            raise ValueError(message)
        self.taken[kind] = limits


def test_a_system_that_refuses_a_limit_refuses_no_tokenizer(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits()
    monkeypatch.setattr(tokenizer_trial, "resource", limits)
    with write().open(encoding="utf-8") as definition:
        monkeypatch.setattr("sys.stdin", definition)
        assert tokenizer_trial.main() == 0
    assert limits.taken == {limits.RLIMIT_CPU: (2, 2), limits.RLIMIT_CORE: (0, 0)}


def test_an_ordinary_tokenizer_needs_no_process(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    assert load_hf_tokenizer(write()).encode("def f")


def test_a_trial_that_does_not_end_is_ended(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_long(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired([], tokenizer_trial.WALL_SECONDS)

    monkeypatch.setattr(subprocess, "run", too_long)
    with pytest.raises(ModelError, match=r"MENS-H080.*longer than"):
        load_hf_tokenizer(write(pre_tokenizer=split_at("(q*)*never")))


def test_growth_and_time_are_bounded_at_use(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_hf_tokenizer(write())
    monkeypatch.setattr("vox_populi.hf.hf_tokenizer.MAX_GROWTH", 0)
    with pytest.raises(ModelError, match="MENS-H080"):
        tokenizer.encode("abc")
    monkeypatch.undo()
    monkeypatch.setattr("vox_populi.hf.hf_tokenizer._MAX_SECONDS", -1.0)
    with pytest.raises(ModelError, match="MENS-H081"):
        tokenizer.encode("abc")
