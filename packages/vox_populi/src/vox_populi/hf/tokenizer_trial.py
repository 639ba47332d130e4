"""Tries a tokenizer in a separate process, within limits of time and memory.

Run as a module, it is that process: the definition comes on standard input, the exit status is the
result. If the system does not support limits on processes, the parent's timeout applies.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator

from vox_populi import extras
from vox_populi.errors import ModelError
from vox_populi.files.strict_json import parse_json_object
from vox_populi.hf.tokenizer_risk import MAX_GROWTH, patterns_of
from vox_populi.operator_messages import model_folder as say

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # the one name for a module that is not there

CPU_SECONDS = 5
WALL_SECONDS = 30
"""Larger than `CPU_SECONDS`: a busy machine must not make a tokenizer look hostile."""
MEMORY_BYTES = 2 * 2**30
_MEMORY_PER_BYTE = 16
"""Memory per byte of the definition: a vocabulary is larger in memory than in its file."""
_LIVES, _GROWS, _UNREADABLE = 0, 3, 4
_RUN = 40
"""Length of a probe: backtracking that doubles with each character exceeds the limits."""


def require_trial(definition: str, where: str) -> None:
    """Load and use a tokenizer in another process first, once per definition.

    Raises:
        ModelError: When it takes too long, too much memory, or fails.
    """
    digest = hashlib.sha256(definition.encode()).hexdigest()
    if digest not in _VERDICTS:
        _VERDICTS[digest] = _why_refused(definition)
    reason = _VERDICTS[digest]
    if reason is not None:
        raise ModelError(say.hf_tokenizer_unbounded(reason).at(where))


_VERDICTS: dict[str, str | None] = {}
"""Why a definition was refused, or `None`, by digest."""


def _why_refused(definition: str) -> str | None:
    try:
        code = subprocess.run(
            [sys.executable, "-m", __name__],
            input=definition.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=WALL_SECONDS,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return f"a trial took longer than {WALL_SECONDS} s"
    if code in (_LIVES, _UNREADABLE):
        # What the library refuses it refuses here as well, with its own reason.
        return None
    if code == _GROWS:
        return f"it makes more than {MAX_GROWTH} tokens of a character"
    return f"a trial failed, or took more than {CPU_SECONDS} s or {MEMORY_BYTES >> 30} GiB"


def main() -> int:
    """Run the trial in this process: set limits, load the definition, use it."""
    data = sys.stdin.buffer.read()
    if resource is not None:
        _limit(resource.RLIMIT_AS, MEMORY_BYTES + _MEMORY_PER_BYTE * len(data))
        _limit(resource.RLIMIT_CPU, CPU_SECONDS)
        _limit(resource.RLIMIT_CORE, 0)
    library = extras.load("tokenizers")
    try:
        tokenizer = library.Tokenizer.from_str(data.decode())
    except MemoryError:
        raise
    except BaseException:  # noqa: BLE001 - a panic in Rust arrives as a BaseException
        return _UNREADABLE
    for probe in _probes(patterns_of(parse_json_object(data, "definition"))):
        ids = tokenizer.encode(probe, add_special_tokens=False).ids
        tokenizer.decode(ids)
        if len(ids) > MAX_GROWTH * len(probe):
            return _GROWS
    return _LIVES


def _limit(kind: int, most: int) -> None:
    """Set a limit of this process, or keep a stricter one."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    # macOS takes no limit on the address space; time is bounded there all the same.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (most, most))


def _probes(patterns: list[str]) -> Iterator[str]:
    """Repetitions of everything a pattern may match: each ASCII character, and its own ones."""
    named = {character for pattern in patterns for character in pattern}
    ascii_characters = {chr(code) for code in range(32, 127)}
    for character in sorted(named | ascii_characters | set("\n\té東")):
        for end in ("", "!", "\x00"):
            yield character * _RUN + end


if __name__ == "__main__":
    raise SystemExit(main())
