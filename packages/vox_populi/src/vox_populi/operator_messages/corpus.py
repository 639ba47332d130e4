"""Mixing corpora (from MENS-D100): the config, its sources, the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vox_tensor.errors import Problem


def mix_key_unknown(key: str, near: str | None, known: Sequence[str]) -> Problem:
    """A key that a mix config does not have; it is never ignored."""
    return Problem(
        code="MENS-D100",
        what=f"a mix config has no key {key!r} here.",
        fix=f"Did you mean {near}?" if near else f"Use some of: {', '.join(known)}.",
    )


def mix_value_refused(key: str, expected: str) -> Problem:
    """A value of the wrong type for its key."""
    return Problem(
        code="MENS-D101",
        what=f"{key} takes {expected}.",
        fix="Correct the value; the page `Mix config` of the docs describes every key.",
    )


def mix_key_missing(key: str) -> Problem:
    """A required key is missing."""
    return Problem(code="MENS-D102", what=f"{key} is missing.", fix=f"Write `{key}:` here.")


def mix_value_out_of_range(key: str, accepted: str) -> Problem:
    """A number outside the range of its key."""
    return Problem(
        code="MENS-D103",
        what=f"{key} is out of range.",
        fix=f"Use a number {accepted}.",
    )


def mix_lanes_conflict(lanes: Sequence[str]) -> Problem:
    """Lanes that are included and excluded at the same time."""
    return Problem(
        code="MENS-D104",
        what=f"include_lanes and exclude_lanes both list {', '.join(lanes)}.",
        fix="Keep each in only one of them.",
    )


def mix_source_repeated(path: str, first: str) -> Problem:
    """The same file in two entries, which makes its weight and its share meaningless."""
    return Problem(
        code="MENS-D105",
        what=f"{path} is the same file as the source at {first}.",
        fix="Keep one entry, with the weight of both.",
    )


MIX_OUTPUT_MISSING = Problem(
    code="MENS-D106",
    what="there is no output.",
    fix="Write `output:` into the config, or pass --output FILE.",
)
"""There is no output file."""


def mix_source_missing(path: str) -> Problem:
    """A required source does not exist."""
    return Problem(
        code="MENS-D107",
        what=f"the source {path} is missing.",
        fix="Create it, mark it `optional: true`, or pass --allow-missing-sources.",
    )


def mix_source_gives_nothing(path: str, dropped: Mapping[str, int]) -> Problem:
    """A required source exists but contributes no rows."""
    counts = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
    why = f"; dropped: {counts}" if counts else ": it is empty"
    return Problem(
        code="MENS-D108",
        what=f"the source {path} contributes no rows{why}.",
        fix="Relax the filters, raise its weight, or mark it `optional: true`.",
    )


MIX_EMPTY = Problem(
    code="MENS-D109",
    what="no source contributes any rows, so there is nothing to write.",
    fix="Check that the paths exist, relative to the config's folder, and relax the filters.",
)
"""Every source was left out or contributed nothing."""

MIX_OUTPUT_OCCUPIED = Problem(
    code="MENS-D110",
    what="there is a file of this name with other content.",
    fix="Choose another --output, move the file away, or pass --force.",
)
"""A different file exists where the mixed rows should go."""


def mix_output_is_source(input_path: str) -> Problem:
    """The mixed rows, or their report, would replace a file that the mix reads."""
    return Problem(
        code="MENS-D111",
        what=f"this would replace an input of the mix, {input_path}.",
        fix="Choose another output file.",
    )


def note_mix_lane_unseen(key: str, lane: str) -> str:
    """A filter that matched nothing and may be misspelt."""
    return f"{key}: no row is in lane {lane}."


def note_mix_rows_skipped(path: str, rows: int) -> str:
    """Rows left out because they cannot be used."""
    return f"{path}: {rows} bad rows are left out."


def note_mix_source_skipped(path: str, reason: str) -> str:
    """A source that is allowed to contribute nothing."""
    return f"{path}: contributes nothing ({reason})."
