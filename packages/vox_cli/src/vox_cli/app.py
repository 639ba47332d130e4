"""The `vox` command: parses arguments, calls a command, and is the only handler of its errors."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from types import FrameType
from typing import NoReturn

import typer

from vox_cli.command_table import ENVIRONMENT_PREFIX, PROGRAM
from vox_cli.console import ColorChoice, Console, json_text
from vox_cli.emphasis import with_lead
from vox_cli.environment_check import unknown_variables
from vox_cli.exit_codes import EXIT_CODE_OF_KIND, ExitCode
from vox_cli.lazy_group import build_root_command
from vox_cli.log_lines import log_lines
from vox_cli.optional_values import with_optional_values
from vox_cli.reported_failure import ReportedFailureError
from vox_cli.source_spelling import in_our_spelling
from vox_cli.terminal import STDERR, STDOUT, Style, open_streams
from vox_cli.usage_problems import USAGE_ERROR, usage_problems
from vox_populi.operator_messages import environment as say_environment
from vox_populi.operator_messages import run as say_run
from vox_populi.operator_messages import usage as say_usage
from vox_populi.pipeline.stopped_run import RankKilledError, RunInterruptedError
from vox_tensor.errors import Problem, VoxError, cause

COMPLETION_VARIABLE = "_VOX_COMPLETE"
JSON_VARIABLE = f"{ENVIRONMENT_PREFIX}_JSON"
COLOR_VARIABLE = f"{ENVIRONMENT_PREFIX}_COLOR"
_YES = ("1", "true", "yes", "on")
NO_FIELDS: Mapping[str, object] = {}
STOPPED = (
    ExitCode.OUT_OF_TIME,
    ExitCode.HUNG_UP,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
)
"""Exit codes of a stopped command, which is not an error."""


class _Terminated(BaseException):
    """SIGTERM as an exception; like `KeyboardInterrupt`, it is not caught as an error."""


def main() -> NoReturn:
    """Run the command in this process's arguments and exit with its code."""
    open_streams()
    raise SystemExit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run one command line and print what went wrong, one line per problem.

    Returns:
        The exit code, as `exit_codes` lists them.
    """
    as_json = _has_flag(argv, "--json") or os.environ.get(JSON_VARIABLE, "0") in _YES
    console = Console(as_json=as_json, color=_color_asked(argv))
    verbose = _has_flag(argv, "--verbose", "-v")
    quiet = _has_flag(argv, "--quiet", "-q")
    try:
        with _termination_raised(), log_lines(verbose=verbose, quiet=quiet):
            if not quiet:
                _note_unknown_variables()
            code = _call(with_optional_values(in_our_spelling(argv)))
            STDOUT.flush()
    except BrokenPipeError:
        STDOUT.silence()
        return ExitCode.READER_GONE
    except KeyboardInterrupt:
        return _report([say_run.INTERRUPTED], ExitCode.INTERRUPTED, console)
    except _Terminated:
        return _report([say_run.TERMINATED], ExitCode.TERMINATED, console)
    except Exception as error:  # noqa: BLE001 - the one place where every failure ends
        problems, code = _explain(error, argv)
        if os.environ.get("VOX_DEBUG") == "1":
            STDERR.text(traceback.format_exc(), end="")
        fields = error.report if isinstance(error, ReportedFailureError) else {}
        return _report(problems, code, console, fields)
    return code


def _call(argv: list[str]) -> int:
    command = build_root_command()
    if COMPLETION_VARIABLE in os.environ:
        command.main(argv, prog_name=PROGRAM)
    try:
        with command.make_context(PROGRAM, argv, obj=tuple(argv)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return ExitCode.DONE


def _note_unknown_variables() -> None:
    # A command that can do its work must not fail because nobody hears of it.
    with contextlib.suppress(OSError):
        for problem in unknown_variables():
            STDERR.line(f"note: {problem}")


def _explain(error: Exception, argv: Sequence[str]) -> tuple[Sequence[Problem], int]:
    """The problems in an exception, and the exit code of their kind."""
    if isinstance(error, RunInterruptedError | RankKilledError):
        return error.problems, error.exit_code
    if isinstance(error, VoxError):
        return error.problems, EXIT_CODE_OF_KIND[error.kind]
    if isinstance(error, USAGE_ERROR):
        return usage_problems(error, argv), ExitCode.USAGE
    if isinstance(error, typer.Abort):
        return [say_run.INTERRUPTED], ExitCode.INTERRUPTED
    if isinstance(error, MemoryError) or _is_memory_refused(error):
        return [say_environment.MEMORY_EXHAUSTED], ExitCode.ENVIRONMENT
    if isinstance(error, OSError):
        where = None if error.filename is None else os.fsdecode(error.filename)
        return [say_environment.system_refused(where, cause(error))], ExitCode.ENVIRONMENT
    return [say_usage.our_bug(type(error).__name__)], ExitCode.OUR_BUG


def _is_memory_refused(error: Exception) -> bool:
    """Whether a module could not be loaded for lack of address space, which is not our bug."""
    words = ("cannot allocate memory", "failed to map segment", "memory allocation")
    return isinstance(error, ImportError) and any(word in str(error).lower() for word in words)


def _report(
    problems: Sequence[Problem],
    code: int,
    console: Console,
    fields: Mapping[str, object] = NO_FIELDS,
) -> int:
    listed = [problem.as_json() for problem in problems]
    document = {**fields, "ok": False, "exit_code": int(code), "problems": listed}
    kind = "stopped" if code in STOPPED else "error"
    lines = [with_lead(f"{kind} {problem}") for problem in problems]
    found = [[(json_text(document), Style.PLAIN)]] * console.as_json
    for channel, texts in (STDERR, lines), (STDOUT, found):
        try:
            for pieces in texts:
                channel.styled(pieces, has_color=console.has_color(channel))
            channel.flush()
        except OSError:
            # Nobody reads it any more; the code still says what happened.
            channel.silence()
    return int(code)


def _color_asked(argv: Sequence[str]) -> ColorChoice:
    """The value of `--color`, even if the arguments cannot be parsed."""
    given = [os.environ.get(COLOR_VARIABLE, "")]
    given += [value for flag, value in pairwise(argv) if flag == "--color"]
    given += [word.partition("=")[2] for word in argv if word.startswith("--color=")]
    known = [ColorChoice(word) for word in given if word in set(ColorChoice)]
    return known[-1] if known else ColorChoice.AUTO


def _has_flag(argv: Sequence[str], *names: str) -> bool:
    """Whether a flag is among the arguments, even if they cannot be parsed."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    return any(name in options for name in names)


@contextlib.contextmanager
def _termination_raised() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that locks are freed and temporary files removed."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:
        # Not in the main thread: Python allows no handlers there.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
