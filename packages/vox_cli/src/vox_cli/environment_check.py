"""Environment variables under our prefix that no command reads: most are misspelt."""

from __future__ import annotations

import os

from vox_cli.command_table import COMMANDS, ENVIRONMENT_PREFIX
from vox_cli.lazy_group import parser_of
from vox_cli.name_hints import setting_meant
from vox_populi.operator_messages import usage as say
from vox_populi.operator_messages.likeness import nearest
from vox_tensor.errors import Problem

_START = f"{ENVIRONMENT_PREFIX}_"


def unknown_variables() -> tuple[Problem, ...]:
    """A problem for each variable that sets nothing in any command, with a suggestion."""
    unread = {name for name in os.environ if name.startswith(_START) and name != _START}
    # A key is never a flag, which other users of the machine could read.
    known = {"api_key"}
    for entry in COMMANDS:
        # Looking at every command takes half a second: only where a variable is misspelt.
        if not unread - {_variable(name) for name in known}:
            return ()
        known |= {parameter.name for parameter in parser_of(entry).params if parameter.name}
    variables = {name: _variable(name) for name in known}
    found = []
    for variable in sorted(unread - set(variables.values())):
        meant = setting_meant(variable.removeprefix(_START), variables)
        near = variables[meant] if meant else nearest(variable, sorted(variables.values()))
        found.append(say.variable_unknown(near).at(variable))
    return tuple(found)


def _variable(setting: str) -> str:
    return _START + setting.upper()
