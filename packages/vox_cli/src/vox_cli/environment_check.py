"""Environment variables under our prefix that no command reads: most are misspelt."""

from __future__ import annotations

import os

from vox_cli.command_table import COMMANDS, ENVIRONMENT_PREFIX
from vox_cli.lazy_group import load_command
from vox_cli.name_hints import setting_meant
from vox_populi.operator_messages import usage as say
from vox_populi.operator_messages.likeness import nearest
from vox_tensor.errors import Problem

_START = f"{ENVIRONMENT_PREFIX}_"


def unknown_variables() -> tuple[Problem, ...]:
    """A problem for each variable that sets nothing in any command, with a suggestion."""
    given = sorted(name for name in os.environ if name.startswith(_START) and name != _START)
    if not given:
        return ()
    # Every command is looked at, which takes a moment: only where such a variable is set.
    known = {parameter.name for entry in COMMANDS for parameter in load_command(entry).params}
    # A key is never a flag, which other users of the machine could read.
    variables = {name: _START + name.upper() for name in (*known, "api_key") if name}
    found = []
    for variable in given:
        if variable in variables.values():
            continue
        meant = setting_meant(variable.removeprefix(_START), variables)
        near = variables[meant] if meant else nearest(variable, sorted(variables.values()))
        found.append(say.variable_unknown(variable, near))
    return tuple(found)
