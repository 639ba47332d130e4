"""The command line (MENS-U): flags, environment, config files; extras (X) and bugs (B)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def extra_missing(extra: str, modules: Sequence[str], install_line: str) -> Problem:
    """A gated command was called on an install that lacks its extra."""
    names = ", ".join(modules)
    return Problem(
        code="MENS-X001",
        what=f"this command needs the extra {extra}; not installed: {names}.",
        fix=f"Run: {install_line}",
    )


def usage_refused(what: str, where: str | None, command: str, hint: str | None = None) -> Problem:
    """Arguments that make no sense to the parser."""
    return Problem(
        code="MENS-U001",
        what=what,
        where=where,
        fix=hint if hint is not None else f"See: {command} --help",
    )


def option_unknown(hint: str | None, command: str) -> Problem:
    """A flag that the command does not have."""
    fix = hint if hint is not None else f"See: {command} --help"
    return Problem(code="MENS-U002", what="there is no such option.", fix=fix)


def command_unknown(group: str, name: str, hint: str | None) -> Problem:
    """A word in place of a command that does not exist."""
    return Problem(
        code="MENS-U008",
        what=f"{group} has no command {name!r}.",
        fix=hint if hint is not None else f"See: {group} --help",
    )


def did_you_mean(meant: str) -> str:
    """Suggests what an unknown name most likely means."""
    return f"Did you mean {meant}?"


def needs_no_flag(usage: str) -> str:
    """Says that something is an argument here, not a flag as in other commands."""
    return f"It takes no flag here: {usage}"


def setting_absent(reason: str) -> str:
    """Explains a setting that only other programs have."""
    return f"{reason}."


def command_elsewhere(offers: Sequence[str], note: str | None) -> str:
    """Says what to use instead of a command that only other programs have."""
    use = f"Use {' or '.join(offers)}." if offers else ""
    return f"{note}. {use}".strip() if note else use


def config_needs_flag(command: str) -> str:
    """A YAML file was passed as an argument."""
    return f"Pass a file of settings with its flag: {command} --config FILE"


def value_not_whole(text: str) -> Problem:
    """A setting that takes an integer got something else."""
    return Problem(
        code="MENS-U003", what=f"takes a whole number, not {text!r}.", fix="Write it like 16."
    )


def value_not_number(text: str) -> Problem:
    """A setting that takes a finite number got something else."""
    return Problem(
        code="MENS-U004", what=f"takes a number, not {text!r}.", fix="Write it like 0.01 or 2e-4."
    )


def value_out_of_range(text: str, accepted: str) -> Problem:
    """A number outside the range of its setting."""
    return Problem(code="MENS-U005", what=f"{text} is out of range.", fix=f"Use {accepted}.")


def value_not_path(text: str) -> Problem:
    """A path that no file system accepts."""
    return Problem(
        code="MENS-U007", what=f"{text!r} is not a path.", fix="Pass a file or a folder."
    )


def value_is_url(text: str) -> Problem:
    """A URL in place of a path."""
    return Problem(
        code="MENS-U060",
        what=f"{clipped(text)} is a URL, and nothing is downloaded.",
        fix="Download it and pass the path; for a model on the Hugging Face Hub, run"
        " hf download ID --local-dir models/NAME",
    )


def setting_missing(flag: str, variable: str, key: str) -> Problem:
    """A required setting was not set anywhere."""
    return Problem(
        code="MENS-U010",
        what="this setting is required.",
        where=flag,
        fix=f"Pass {flag}, set {variable}, or write `{key}:` in the --config file.",
    )


def setting_unknown(key: str, hint: str | None) -> Problem:
    """A config key that is not a setting."""
    return Problem(
        code="MENS-U011",
        what=f"there is no setting {key!r}.",
        fix=hint if hint is not None else "See: vox mens train --help",
    )


def variable_unknown(near: str | None) -> Problem:
    """An environment variable that looks like a setting but is not one."""
    return Problem(
        code="MENS-U012",
        what="this environment variable sets nothing.",
        fix=f"Did you mean {near}?" if near else "Unset it, or name it after a flag.",
    )


def config_unreadable(cause: str) -> Problem:
    """A YAML file (settings, mix, tasks, policy or suite) that cannot be opened as text."""
    return Problem(
        code="MENS-U020",
        what=f"this YAML file cannot be read: {cause}.",
        fix="Pass a YAML file in UTF-8 that this user may read.",
    )


def config_not_yaml(cause: str) -> Problem:
    """A config file with a syntax error."""
    return Problem(
        code="MENS-U021",
        what=f"this is not valid YAML: {cause}.",
        fix="Write one `key: value` per line.",
    )


CONFIG_NOT_MAPPING = Problem(
    code="MENS-U022",
    what="a config file must contain settings, and this one does not.",
    fix="Write one `key: value` per line.",
)
"""A config file whose top level is a list or a single value."""


def config_key_repeated(key: str, first_line: int) -> Problem:
    """A setting that occurs twice in a config file."""
    return Problem(
        code="MENS-U023",
        what=f"{key!r} was already set on line {first_line}.",
        fix="Keep one of the two.",
    )


def config_value_refused(key: str, expected: str) -> Problem:
    """A config value of a type that no setting accepts."""
    return Problem(
        code="MENS-U024",
        what=f"{key!r} takes {expected}.",
        fix="Write it as on the command line; quote text that YAML would read differently.",
    )


def sources_conflict(flags: Sequence[str]) -> Problem:
    """Flags that cannot be used together."""
    return Problem(
        code="MENS-U030",
        what=f"{' and '.join(flags)} exclude each other.",
        where=flags[0],
        fix="Pass only one of them.",
    )


PROMPT_MISSING = Problem(
    code="MENS-U031",
    what="there is no prompt.",
    where="--prompt",
    fix="Pass --prompt TEXT, or --prompts FILE with one prompt per line.",
)
"""Nothing to continue."""


def prompts_unusable(cause: str) -> Problem:
    """A file of prompts that is empty or contains something else."""
    return Problem(
        code="MENS-U032",
        what=f"no prompts can be read: {cause}.",
        fix='Write one prompt per line, or JSON lines with a "prompt".',
    )


def gate_file_missing(name: str) -> Problem:
    """Neither the working folder nor any of its parents has the gate, or its rows."""
    return Problem(
        code="MENS-G002",
        what=f"there is no {name} here or in a parent folder.",
        fix="Run the gate in a clone of the workspace, or pass the file of rows with --manifest.",
    )


def our_bug(kind: str) -> Problem:
    """An exception that no part of the program meant to raise."""
    return Problem(
        code="MENS-B001",
        what=f"this is a bug in vox, not a mistake on your side ({kind}).",
        fix="Run again with VOX_DEBUG=1 to see where, and report it.",
    )
