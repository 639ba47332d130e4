"""Run as a script: gives up rights for good, then becomes the program of a task. Linux only.

It uses the standard library alone and imports nothing of this package, since it is started without
site-packages. `python_jail` starts it; what it cannot give up ends it with `SETUP_FAILED`.

Syscall numbers are those of the kernel's tables (`arch/x86/entry/syscalls/syscall_64.tbl` and
`include/uapi/asm-generic/unistd.h`); the filter is classic BPF as `seccomp(2)` describes it.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable, Mapping
from typing import NoReturn

SETUP_FAILED = 97
"""Exit code of a process that could not be locked down; nothing was run."""
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x10000
_NAMESPACES = 0x10000000 | 0x40000000 | 0x08000000
"""User, network and IPC: CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC."""

# ---- seccomp: a filter that refuses what a pure computation never needs

_LOAD, _JUMP_EQUAL, _JUMP_SET, _JUMP_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_AT_NUMBER, _AT_ARCH, _AT_FIRST_ARGUMENT = 0, 4, 16
_X32_BIT = 0x40000000
"""Numbers from here on are another table of the same processor."""

_DENIED = {
    # Sockets, signals, other processes, namespaces, mounts, keys, clocks and modules; memory that
    # outlives a process; and io_uring, which would do the same without a system call.
    "x86_64": (
        *(41, 42, 43, 49, 50, 288),
        *(57, 58, 62, 129, 200, 234, 297, 101, 109, 112, 310, 311, 424, 434, 438),
        *(155, 161, 165, 166, 272, 304, 308, 133, 259),
        *(163, 164, 167, 168, 169, 170, 175, 176, 227, 246, 313, 321, 298, 323, 135),
        *(248, 249, 250, 29, 64, 68, 240, 319, 425, 426, 427),
    ),
    "aarch64": (
        *(198, 203, 202, 200, 201, 242),
        *(129, 138, 130, 131, 240, 117, 154, 157, 270, 271, 424, 434, 438),
        *(41, 51, 40, 39, 97, 265, 268, 33),
        *(89, 170, 224, 225, 142, 161, 105, 106, 112, 104, 273, 280, 241, 282, 92),
        *(217, 218, 219, 194, 190, 186, 180, 279, 425, 426, 427),
    ),
}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_CLONE3 = 435
"""Its flags are behind a pointer; libraries fall back to `clone` where it does not exist."""


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _refuse(number: int, errno: int = _EPERM) -> bytes:
    return _instruction(_JUMP_EQUAL, number, 0, 1) + _instruction(_RETURN, _ERRNO | errno)


def _filter_program(machine: str) -> bytes:
    """The BPF program for a processor."""
    only_threads = (
        _instruction(_JUMP_EQUAL, _CLONE[machine], 0, 4)
        + _instruction(_LOAD, _AT_FIRST_ARGUMENT)
        + _instruction(_JUMP_SET, _CLONE_THREAD, 1, 0)
        + _instruction(_RETURN, _ERRNO | _EPERM)
        + _instruction(_RETURN, _ALLOW)
    )
    only_itself = (
        _instruction(_JUMP_EQUAL, _PRLIMIT[machine], 0, 4)
        + _instruction(_LOAD, _AT_FIRST_ARGUMENT)
        + _instruction(_JUMP_EQUAL, 0, 1, 0)
        + _instruction(_RETURN, _ERRNO | _EPERM)
        + _instruction(_RETURN, _ALLOW)
    )
    return b"".join(
        [
            _instruction(_LOAD, _AT_ARCH),
            _instruction(_JUMP_EQUAL, _AUDIT_ARCH[machine], 1, 0),
            _instruction(_RETURN, _KILL),
            _instruction(_LOAD, _AT_NUMBER),
            _instruction(_JUMP_LEAST, _X32_BIT, 0, 1),
            _instruction(_RETURN, _KILL),
            *(_refuse(number) for number in _DENIED[machine]),
            _refuse(_CLONE3, _ENOSYS),
            only_threads,
            only_itself,
            _instruction(_RETURN, _ALLOW),
        ]
    )


def _deny_system_calls(libc: ctypes.CDLL, machine: str) -> None:
    program = _filter_program(machine)
    held = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))
    pointer = ctypes.create_string_buffer(header, len(header))
    place = ctypes.c_void_p(ctypes.addressof(pointer))
    refused = libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, place, 0, 0)
    _require(not refused, "the kernel takes no seccomp filter")


# ---- Landlock: files that may be read; nothing may be written

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_FOLDER, _WRITE_FILE = 1, 4, 8, 2
_RIGHTS_OF_ABI = ((1, 13), (2, 14), (3, 15), (5, 16))
"""Version of Landlock and the number of rights it knows."""
_NET_SINCE, _NET_RIGHTS = 4, 3


def _limit_files(libc: ctypes.CDLL, readable: Iterable[str]) -> bool:
    """Leave nothing but reading some folders; whether the kernel can do that."""
    libc.syscall.restype = ctypes.c_long
    abi = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if abi < 1:
        return False
    known = max(count for version, count in _RIGHTS_OF_ABI if version <= abi)
    net = _NET_RIGHTS if abi >= _NET_SINCE else 0
    rules = struct.pack("QQ", (1 << known) - 1, net)
    size = ctypes.c_size_t(16 if net else 8)
    ruleset = libc.syscall(_LANDLOCK_CREATE, rules, size, ctypes.c_uint(0))
    _require(ruleset >= 0, "the kernel makes no Landlock ruleset")
    for path in readable:
        _allow(libc, ruleset, path)
    refused = libc.syscall(_LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint(0))
    _require(not refused, "the kernel refuses a Landlock ruleset")
    os.close(ruleset)
    return True


def _allow(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rights = _EXECUTE | _READ_FILE | (_READ_FOLDER if os.path.isdir(path) else 0)  # noqa: PTH112 - pathlib is slow to import, once for every answer
    if path.startswith("/dev/"):
        rights = _READ_FILE | _WRITE_FILE
    rule = struct.pack("=Qi", rights, descriptor)
    kind, flags = ctypes.c_int(1), ctypes.c_uint(0)
    refused = libc.syscall(_LANDLOCK_ADD, ctypes.c_int(ruleset), kind, rule, flags)
    _require(not refused, "the kernel refuses a Landlock rule")
    os.close(descriptor)


# ---- Limits and the order of it all


def _limit_resources(limits: Mapping[str, int]) -> None:
    seconds = limits["cpu_seconds"]
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
        # Not a byte into any file; pipes do not count.
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"]),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    ):
        resource.setrlimit(kind, (soft, hard))


def _require(holds: bool, reason: str) -> None:
    if not holds:
        os.write(2, reason.encode())
        raise SystemExit(SETUP_FAILED)


def main(arguments: str) -> NoReturn:
    """Lock this process down and turn it into the program.

    Args:
        arguments: JSON with `program` (a file), `readable` (paths) and `limits`.
    """
    given = json.loads(arguments)
    machine = platform.machine()
    _require(machine in _DENIED, f"there is no system call filter for {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    # Where this is not allowed, the filter below still refuses every socket.
    libc.unshare(_NAMESPACES)
    _limit_resources(given["limits"])
    _require(not libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs is refused")
    has_landlock = _limit_files(libc, given["readable"])
    _require(has_landlock or not given["needs_landlock"], "the kernel has no Landlock")
    _deny_system_calls(libc, machine)
    python = sys.executable
    os.execve(python, [python, "-I", "-S", "-B", "-X", "utf8", given["program"]], {})
    raise SystemExit(SETUP_FAILED)


if __name__ == "__main__":
    main(sys.argv[1])
