"""Suggestions for unknown names: other programs' names first, then typos.

Internally, everything is as typed on a command line: `--lr`, `--backend qlora`, `status RUN`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from vox_cli.command_table import COMMANDS, GROUP_HELP
from vox_populi.operator_messages import usage as say
from vox_populi.operator_messages.likeness import nearest
from vox_populi.operator_messages.peer_names import (
    ABSENT_SETTINGS,
    COMMAND_NOTES,
    OWN_SETTINGS,
    PEER_COMMANDS,
    PEER_SETTINGS,
)
from vox_populi.operator_messages.source_flags import source_flag_hint

_FLAG = "--"


def option_hint(typed: str, command: Any, command_path: str) -> str | None:
    """What to pass instead of an option that a command does not have.

    Args:
        typed: The option with its hyphens; `--train.epochs` is read as `--epochs`.
        command: The parser's command, with all its parameters.
        command_path: What is typed to call it.
    """
    ours = source_flag_hint(" ".join(command_path.split()[1:]), typed)
    if ours is not None:
        return say.setting_absent(ours)
    opts = [name for each in command.params for name in (*each.opts, *each.secondary_opts)]
    flags = [name for name in opts if name.startswith(_FLAG)]
    arguments = [
        f"{command.name} {each.metavar}"
        for each in command.params
        if each.param_type_name == "argument"
    ]
    key = _key(typed).rpartition(".")[2]
    meant = _named(key, (*flags, *arguments))
    if meant in arguments:
        return say.needs_no_flag(f"{command_path} {meant.split()[-1]}")
    return _advice(key, flags, meant, str)


def setting_hint(key: str, names: Collection[str]) -> str | None:
    """What to write instead of a config key that is not a setting."""
    flags = [_as_flag(name) for name in names]
    meant = _named(_key(key), flags)
    return _advice(_key(key), flags, meant, _as_key)


def setting_meant(name: str, names: Collection[str]) -> str | None:
    """The setting that a peer's name means, if the table has it."""
    meant = _first_known(PEER_SETTINGS.get(_key(name), ()), [_as_flag(each) for each in names])
    return None if meant is None else _as_key(meant.split()[0])


def command_hint(typed: str, group: Sequence[str], members: Collection[str]) -> str | None:
    """What to type instead of a word that is not a command of a group.

    Args:
        typed: The word.
        group: The words of the group, after `vox`.
        members: Names of its commands and groups.
    """
    note, named = COMMAND_NOTES.get(_key(typed)), PEER_COMMANDS.get(_key(typed), ())
    if named or note is not None:
        return say.command_elsewhere([_offer(each, group) for each in named], note)
    near = nearest(typed, members)
    if near is not None:
        return say.did_you_mean(" ".join(["vox", *group, near]))
    # Of two commands of one name, the first of the table is meant.
    known = {entry.words[-1]: entry.words for entry in reversed(COMMANDS)}
    known |= {words[-1]: words for words in GROUP_HELP if words}
    near = nearest(typed, known)
    return None if near is None else say.did_you_mean(" ".join(["vox", *known[near]]))


def _offer(words: str, group: Sequence[str]) -> str:
    """A command as typed, with its line of help."""
    if words == "--help":
        return " ".join(["vox", *group, words])
    for entry in COMMANDS:
        name = " ".join(entry.words)
        if f"{words} ".startswith(f"{name} "):
            about = entry.short_help.rstrip(".")
            return f"vox {words} ({about[0].lower()}{about[1:]})"
    return f"vox {words}"


def _advice(
    key: str, flags: Collection[str], meant: str | None, written: Callable[[str], str]
) -> str | None:
    absent = ABSENT_SETTINGS.get(key)
    if meant is None and absent is not None:
        return say.setting_absent(absent)
    meant = meant or _similar(key, flags)
    return None if meant is None else say.did_you_mean(written(meant))


def _named(key: str, known: Collection[str]) -> str | None:
    """The suggestions of the table, or the same name in our spelling."""
    candidates = (*PEER_SETTINGS.get(key, ()), *OWN_SETTINGS.get(key, ()))
    return _first_known((_as_flag(key), *candidates), known)


def _similar(key: str, flags: Collection[str]) -> str | None:
    """The meaning of a misspelt name, ours or a peer's."""
    near = nearest(key, flags)
    peer = None if near is not None else nearest(key, PEER_SETTINGS)
    return near if peer is None else _first_known(PEER_SETTINGS[peer], flags)


def _first_known(candidates: Sequence[str], known: Collection[str]) -> str | None:
    """The first candidate whose flags, or argument, all exist."""
    for candidate in candidates:
        flags = {word for word in candidate.split() if word.startswith(_FLAG)}
        if (flags or {candidate}) <= set(known):
            return candidate
    return None


def _key(name: str) -> str:
    return name.strip().lstrip("-").lower().replace("-", "_")


def _as_flag(name: str) -> str:
    return _FLAG + name.replace("_", "-")


def _as_key(meant: str) -> str:
    """A suggestion such as `--backend qlora` in the form of a config file."""
    words = [
        word.removeprefix(_FLAG).replace("-", "_") if word.startswith(_FLAG) else word
        for word in meant.split()
    ]
    return ": ".join(words) if len(words) == 2 else " ".join(words)
