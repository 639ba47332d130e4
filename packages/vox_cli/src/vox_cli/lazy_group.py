"""Command groups that have their commands' help, and import a command only to run it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from vox_cli.command_table import (
    COMMANDS,
    DEFAULT_COMMANDS,
    GROUP_HELP,
    PROGRAM,
    SECTIONS,
    CommandEntry,
)
from vox_cli.grouped_help import help_width
from vox_cli.name_hints import command_hint
from vox_cli.terminal import STDOUT
from vox_populi import extras
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import usage as say
from vox_populi.version import __version__


class LazyGroup(TyperGroup):
    """A group whose members are placeholders until one of them is called."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Run the default command of a group called without one, or show its help."""
        default = DEFAULT_COMMANDS.get(tuple(ctx.command_path.split()[1:]))
        if default is not None and not {"-h", "--help"}.intersection(args):
            args = [default, *args] if not args or args[0].startswith("-") else args
        return super().parse_args(ctx, args or ["--help"])

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands under their headings; a group without any has one list."""
        names = [name for name in self.commands if not self.commands[name].hidden]
        listed = {title: words.split() for title, words in SECTIONS.items()}
        known = {name for members in listed.values() for name in members}
        listed["Other" if known & {*names} else "Commands"] = [n for n in names if n not in known]
        width = max(map(len, names))
        for title, members in listed.items():
            present = [name for name in members if name in names]
            if present:
                with formatter.section(title):
                    helps = (self.commands[name].get_short_help_str(1000) for name in present)
                    padded = (name.ljust(width) for name in present)
                    formatter.write_dl(list(zip(padded, helps, strict=True)))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command in the arguments, and import it if it is one of ours.

        Raises:
            ConfigError: When there is no such command.
        """
        typed = args[0]
        is_command = typed in self.commands or typed.startswith("-") or ctx.resilient_parsing
        if not is_command:
            group = ctx.command_path.split()[1:]
            hint = command_hint(typed, group, tuple(self.commands))
            raise ConfigError(say.command_unknown(ctx.command_path, typed, hint))
        name, command, rest = super().resolve_command(ctx, args)
        words = (*ctx.command_path.split()[1:], name)
        for entry in COMMANDS:
            if entry.words == words:
                return name, parser_of(entry), rest
        return name, command, rest


def parser_of(entry: CommandEntry) -> Any:
    """The parser of a command's arguments. Help of groups needs none, and is there sooner so."""
    return extras.load("vox_cli.command_loading").load_command(entry)


def build_root_command() -> Any:
    """The `vox` command with all its groups, commands as placeholders."""
    return get_command(_build_group(()))


def _build_group(words: tuple[str, ...]) -> typer.Typer:
    group = typer.Typer(
        name=words[-1] if words else PROGRAM,
        cls=LazyGroup,
        help=GROUP_HELP[words],
        add_completion=not words,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "terminal_width": help_width(),
        },
    )
    # Without a callback Typer would melt a group that has one command into that command.
    group.callback()(_nothing if words else _root)
    for entry in COMMANDS:
        if entry.words[:-1] == words:
            group.command(entry.words[-1], help=entry.short_help)(_nothing)
    for child in GROUP_HELP:
        if child and child[:-1] == words:
            group.add_typer(_build_group(child))
    return group


def _nothing() -> None:
    """Do nothing: a placeholder for a command in the help of its group."""


def _show_version(wanted: bool) -> None:
    if wanted:
        STDOUT.line(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_show_version,
            is_eager=True,
            show_default=False,
        ),
    ] = False,
) -> None:
    """Do nothing: the callback that has the options of `vox` itself."""
