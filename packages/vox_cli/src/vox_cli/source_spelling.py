"""Command lines of the source system in our spelling, where both mean the same.

Flags without such a meaning stay as they are, so that the parser refuses them by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

_FOLDER, _SHARD, _ARGUMENT = "--output-dir", "--base-shard", ""
_MERGE_QLORA = {"--output": _FOLDER, "-o": _FOLDER, _SHARD: _SHARD}
_WATCH = {"--telemetry": _ARGUMENT, "--interval-ms": "--interval"}
RENAMED: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("mens", "merge-qlora"): _MERGE_QLORA,
    ("mens", "merge-adapter"): _MERGE_QLORA,
    ("schola", "merge-qlora"): _MERGE_QLORA,
    ("mens", "merge-weights"): {"--output": _FOLDER, "-o": _FOLDER},
    ("mens", "status"): {"--run-dir": _ARGUMENT},
    ("mens", "watch"): _WATCH,
    ("mens", "watch-telemetry"): _WATCH,
    ("mens", "eval-local"): {
        **{"--max-tokens": "--max-new-tokens", "--seed-base": "--seed"},
        **{"--output": _FOLDER, "-o": _FOLDER},
    },
    ("schola", "train"): {"--resume-checkpoint": "--resume", "--continue-run": "--resume"},
}
"""Flags with a value, by command, and ours; an empty one is an argument without a flag."""
_TELEMETRY_FILE = "telemetry.jsonl"
_MOST_DIGITS = 12
_FILES = (".safetensors", ".bin", ".json")
"""Endings of a file that the source system wrote and that a folder here cannot be."""


def in_our_spelling(argv: Sequence[str]) -> list[str]:
    """The same command line without the source system's names for our flags.

    `merge-qlora --base-shard FILE` is `--base FILE --subset`; for several files of one folder it
    is that folder.
    """
    command = (argv[0], argv[1]) if len(argv) > 1 else ("", "")
    renamed = RENAMED.get(command)
    if renamed is None:
        return list(argv)
    rest, shards = list(argv[2:]), list[str]()
    words: list[str] = []
    while rest:
        word = rest.pop(0)
        flag, has_value, value = word.partition("=")
        if word == "--" or flag not in renamed or not (has_value or rest):
            words.append(word)
            continue
        value = value if has_value else rest.pop(0)
        if flag == _SHARD:
            shards.append(value)
        else:
            words += _renamed(flag, renamed[flag], _in_our_terms(flag, value))
    return [*command, *_base_of(shards), *words]


def _renamed(flag: str, ours: str, value: str) -> list[str]:
    if ours == _FOLDER and value.lower().endswith(_FILES):
        return [flag, value]
    return [value] if ours == _ARGUMENT else [ours, value]


def _in_our_terms(flag: str, value: str) -> str:
    """A value of the source system: milliseconds in seconds, a run's telemetry as its folder."""
    is_number = value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS
    if flag == "--interval-ms" and is_number:
        return f"{int(value) / 1000:g}"
    path = PurePath(value)
    is_file_of_a_run = flag == "--telemetry" and path.name == _TELEMETRY_FILE
    return str(path.parent) if is_file_of_a_run else value


def _base_of(shards: Sequence[str]) -> list[str]:
    """The base that these files are; as typed if they are in different folders."""
    folders = {str(PurePath(shard).parent) for shard in shards}
    if not shards:
        return []
    if len(folders) > 1:
        return [word for shard in shards for word in (_SHARD, shard)]
    return ["--base", shards[0] if len(shards) == 1 else folders.pop(), "--subset"]
