"""Freed memory stays in the process, or goes back, as was asked for."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HELD = """
from vox_populi.model.allocator import {name}
assert {name}()

def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4 // 1024

blocks = [b"1" * (8 * 2**20 + n) for n in range(16)]
before = resident()
del blocks[:-1]
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_blocks_go_back_at_once_or_stay() -> None:
    returned = {}
    for name in ("keep_freed_memory", "return_freed_memory"):
        done = subprocess.run(
            [sys.executable, "-c", HELD.format(name=name)],
            check=True,
            capture_output=True,
            text=True,
        )
        returned[name] = int(done.stdout)
    # 15 blocks of 8 MiB, below one that stays.
    assert returned["keep_freed_memory"] < 20
    assert returned["return_freed_memory"] > 100


HOLES = """
from vox_populi.model.allocator import return_freed_memory, trim_freed_memory

def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4 // 1024

return_freed_memory()
blocks = [b"1" * (300 * 2**10 + n) for n in range(200)]
before = resident()
del blocks[::2]
print(before - resident(), trim_freed_memory(), before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_holes_between_small_blocks_are_handed_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], check=True, capture_output=True, text=True)
    by_itself, is_trimmed, trimmed = done.stdout.split()
    # 100 blocks of 300 KiB.
    assert int(by_itself) < 10
    assert is_trimmed == "True"
    assert int(trimmed) > 20
