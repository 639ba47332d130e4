"""Writes that fail, one after the other: for proving what a fault at any moment leaves behind."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import IO, Any

import pytest


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
