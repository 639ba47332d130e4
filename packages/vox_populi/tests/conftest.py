"""Shared fixtures: writes that fail one after the other, a small adapter header, two configs."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import IO, Any

import pytest

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_tensor.lora_spec import LoraSpec


class Killed(BaseException):
    """Stands for `kill -9`: from here on the process changes nothing on disk any more."""


class Fault(StrEnum):
    """What happens at the n-th call that writes."""

    ONCE = "once"
    """It fails with ENOSPC, and those after it work again."""
    FROM_THEN_ON = "from then on"
    """It and all after it fail with ENOSPC."""
    KILL = "kill"
    """The process is gone, after half of what the call had to write."""


class WriteFaults:
    """Counts every call that writes, and makes one of them fail.

    Counted are open for writing, write, fsync, mkdir, rename, replace, unlink and rmdir.
    """

    def __init__(self) -> None:
        self.fault = Fault.ONCE
        self.at: int | None = None
        self.calls = 0

    def arm(self, fault: Fault, at: int) -> None:
        """Fail at the `at`-th call from now on, the first being 1."""
        self.fault, self.at, self.calls = fault, at, 0

    def disarm(self) -> None:
        """Let everything work again."""
        self.at = None

    @property
    def fired(self) -> bool:
        """Whether the call to fail was reached."""
        return self.at is not None and self.calls >= self.at

    def count(self, half: Callable[[], object] = lambda: None) -> None:
        """Take note of one call, before it is made."""
        self.calls += 1
        if self.at is None or self.calls < self.at:
            return
        if self.fault is Fault.KILL:
            if self.calls == self.at:
                half()
            raise Killed
        if self.calls == self.at or self.fault is Fault.FROM_THEN_ON:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _CountedFile:
    """An unbuffered file whose writes are counted; nothing is held back until it is closed."""

    def __init__(self, raw: IO[Any], faults: WriteFaults) -> None:
        self._raw, self._faults = raw, faults

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._faults.count(lambda: self._raw.write(view[: len(view) // 2]))
        return self._raw.write(data)

    def __enter__(self) -> _CountedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


@pytest.fixture
def write_faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteFaults]:
    """Every call that writes goes through the counter."""
    faults = WriteFaults()

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            faults.count()
            return call(*args, **kwargs)

        return wrapper

    for name in ("fsync", "mkdir", "rename", "replace", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    sound_open, sound_descriptor = io.open, os.open

    def open_file(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not set(mode) & set("wxa+"):
            return sound_open(file, mode, *args, **kwargs)
        faults.count()
        if "b" not in mode:
            return sound_open(file, mode, *args, **kwargs)
        closefd = kwargs.get("closefd", True)
        return _CountedFile(sound_open(file, mode, buffering=0, closefd=closefd), faults)

    def open_descriptor(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            faults.count()
        return sound_descriptor(path, flags, *args, **kwargs)

    monkeypatch.setattr(io, "open", open_file)
    monkeypatch.setattr(os, "open", open_descriptor)
    yield faults
    faults.disarm()


@pytest.fixture
def header() -> AdapterHeader:
    """Two modules, one of them fused, on a base that does not exist."""
    return AdapterHeader(
        lora=LoraSpec(rank=2, alpha=3.0, dropout=0.1, use_rslora=True),
        modules=(
            AdaptedModule(
                ours="blocks.0.attn.qkv",
                base_key="transformer.h.0.attn.c_attn.weight",
                roles=("q", "k", "v"),
                in_features=4,
                out_features=12,
                fan_in_fan_out=True,
            ),
            AdaptedModule(
                ours="lm_head",
                base_key="lm_head.weight",
                roles=("lm_head",),
                in_features=4,
                out_features=7,
                fan_in_fan_out=False,
            ),
        ),
        base_name="tiny-ä",
        base_digest="sha256:00",
        model_type="gpt2",
        tokenizer=TokenizerKind.HF,
        tokenizer_digest="sha256:11",
        template=ChatTemplate.CHATML,
        template_digest="sha256:22",
        system_prompt='Say "ja".\n',
        seq_len=64,
        contract_digest="sha256:33",
        step=5,
    )


_SIZES = {"vocab_size": 24, "tie_word_embeddings": False}


@pytest.fixture
def llama_config() -> ModelConfig:
    """Two layers of width 8 with two heads that share keys; the head is its own."""
    raw = {
        "model_type": "llama",
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 32,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    return parse_model_config(_SIZES | raw, "config.json")


@pytest.fixture
def gpt2_config() -> ModelConfig:
    """Two layers of width 8; the head is the embedding."""
    raw = {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16}
    return parse_model_config({"vocab_size": 24} | raw, "config.json")
