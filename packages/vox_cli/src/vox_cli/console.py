"""Output of a command: results to stdout, everything else to stderr.

Colours and bars follow `--color`, `NO_COLOR`, `FORCE_COLOR`, `TERM=dumb` and `CI`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from vox_cli.emphasis import with_figures, with_lead
from vox_cli.reported_failure import MissedGateError, ReportedFailureError
from vox_cli.terminal import STDERR, STDOUT, Channel, Piece
from vox_tensor.errors import Problem
from vox_tensor.visible_text import json_safe, one_line


class ColorChoice(StrEnum):
    """When to colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Report(Protocol):
    """What a command found or did."""

    def as_json(self) -> dict[str, object]:
        """The fields of its JSON document."""


class Verdict(Report, Protocol):
    """A report of checks, which may fail."""

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What failed."""


ReportT = TypeVar("ReportT", bound=Report)
VerdictT = TypeVar("VerdictT", bound=Verdict)


@dataclass(frozen=True, slots=True)
class Console:
    """Output settings from the flags that every command has."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    color: ColorChoice = ColorChoice.AUTO

    def report(self, report: ReportT, text: Callable[[ReportT], str]) -> None:
        """Print the report of a command that succeeded, as JSON or as text."""
        if self.as_json:
            self.document(report.as_json())
        else:
            self.styled(with_figures(text(report)))

    def verdict(self, report: VerdictT, text: Callable[[VerdictT], str]) -> None:
        """Print a report of checks.

        Raises:
            ReportedFailureError: When a check failed; with `--json` the document comes with it.
        """
        if report.ok or not self.as_json:
            self.report(report, text)
        if not report.ok:
            raise ReportedFailureError(report.as_json(), *report.problems)

    def gated(self, report: VerdictT, text: Callable[[VerdictT], str]) -> None:
        """Print a report whose problems are missed gates.

        Raises:
            MissedGateError: When a gate was missed; with `--json` the document comes with it.
        """
        if report.ok or not self.as_json:
            self.report(report, text)
        if not report.ok:
            raise MissedGateError(report.as_json(), *report.problems)

    def document(self, fields: Mapping[str, object]) -> None:
        """Print the one JSON document of a command that succeeded."""
        STDOUT.text(json_text({"ok": True, **fields}))

    def json_line(self, fields: Mapping[str, object]) -> None:
        """Print one line of a command whose result is JSON lines."""
        STDOUT.text(json_text(fields))

    def result(self, text: str) -> None:
        """Print a result for people; names in it went through `report_text.aligned`."""
        STDOUT.text(text)

    def styled(self, pieces: Iterable[Piece]) -> None:
        """Print a result, parts of which may be coloured."""
        STDOUT.styled(pieces, has_color=self.has_color(STDOUT))

    def piece(self, text: str) -> None:
        """Print a part of a result immediately, without a newline."""
        STDOUT.text(text, end="")

    def end_typed_line(self) -> None:
        """Start a new line after typed text that was given up."""
        STDOUT.text("")

    def note(self, text: str) -> None:
        """Print a one-line note, unless asked to be quiet."""
        if self.quiet:
            return
        # A command that did its work must not fail because nobody hears of it.
        with suppress(OSError):
            STDERR.styled(with_lead(one_line(text)), has_color=self.has_color(STDERR))

    def notes(self, notes: Iterable[str]) -> None:
        """Print the notes of a report."""
        for note in notes:
            self.note(f"note: {note}")

    def has_color(self, channel: Channel) -> bool:
        """Whether text to a stream is coloured."""
        if self.color is not ColorChoice.AUTO:
            return self.color is ColorChoice.ALWAYS
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("FORCE_COLOR"):
            return True
        return os.environ.get("TERM") != "dumb" and channel.is_terminal()

    def has_bar(self, channel: Channel) -> bool:
        """Whether a line of a stream may be redrawn."""
        is_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
        is_plain = is_ci or os.environ.get("TERM") == "dumb"
        return not self.quiet and not is_plain and channel.is_terminal()


def json_text(value: object) -> str:
    """JSON on one line that any parser accepts: no NaN, and ASCII if the stream is not UTF-8."""
    text = json.dumps(_finite(value), ensure_ascii=not STDOUT.has_unicode, allow_nan=False)
    return json_safe(text)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
