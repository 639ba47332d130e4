"""Makes the parser of a command, for which it imports the command."""

from __future__ import annotations

from typing import Any

import typer
from typer.main import get_command

from vox_cli.command_table import ENVIRONMENT_PREFIX, PROGRAM, CommandEntry
from vox_cli.grouped_help import GroupedCommand, help_width
from vox_cli.output_flags import with_output_flags
from vox_cli.request_options import with_requests
from vox_populi import extras


def load_command(entry: CommandEntry) -> Any:
    """Import a command's module and turn its function into a parser of arguments."""
    command = getattr(extras.load(entry.module), entry.function)
    function = with_requests(command, f"{PROGRAM} {' '.join(entry.words)}")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(
        entry.words[-1],
        cls=GroupedCommand,
        # The escape keeps the help from wrapping what is to be pasted.
        epilog=f"\b\nExample:\n  {entry.example}",
        context_settings={
            "auto_envvar_prefix": ENVIRONMENT_PREFIX,
            "help_option_names": ["-h", "--help"],
            "terminal_width": help_width(),
        },
    )(with_output_flags(function))
    return get_command(single)
