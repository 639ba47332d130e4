"""Runs and the machine they are on (MENS-E)."""

from __future__ import annotations

from vox_populi.operator_messages.wording import cause, clipped
from vox_tensor.errors import Problem

MOBILE_EDGE_MANIFEST_NOTE = "trained within the limits of mobile_edge on a CPU"


def output_folder_occupied(path: str, *, is_run: bool = False) -> Problem:
    """An output folder with files in it; a training run can be resumed."""
    resume = "resume the run in it (--resume auto), " if is_run else ""
    return Problem(
        code="MENS-E001",
        what="the output folder is not empty.",
        fix=f"Choose another --output-dir, {resume}or pass --force to keep the old folder under"
        " another name.",
        where=path,
    )


def output_overlaps(path: str, other: str) -> Problem:
    """The output would replace, contain or be inside an input."""
    return Problem(
        code="MENS-A046",
        what=f"the output overlaps the input {other}.",
        fix="Choose an --output-dir that is neither inside an input nor contains one.",
        where=path,
    )


def output_holds_working_folder(path: str) -> Problem:
    """Moving the working folder would break the shell that started the command."""
    return Problem(
        code="MENS-E041",
        what="the output folder is or contains the working folder, which is never moved.",
        fix="Choose another --output-dir, or start the command from another folder.",
        where=path,
    )


def staging_folder_foreign(path: str) -> Problem:
    """A folder with the temporary name of an output that none of our commands left behind."""
    return Problem(
        code="MENS-E042",
        what="this folder is needed for writing, but it contains other files.",
        fix="Move it away, or choose another --output-dir.",
        where=path,
    )


def output_not_a_folder(path: str) -> Problem:
    """A file in place of the run folder or of one of its parents."""
    return Problem(
        code="MENS-E002",
        what="a file is in the way.",
        fix="Pass a folder with --output-dir.",
        where=path,
    )


def output_folder_is_link(path: str) -> Problem:
    """Writing never follows links."""
    return Problem(
        code="MENS-E003",
        what="this is a link; runs are not written through links.",
        fix="Pass the folder itself with --output-dir.",
        where=path,
    )


def folder_locked(path: str, holder: str) -> Problem:
    """Another process is writing to this folder."""
    return Problem(
        code="MENS-E004",
        what=f"the folder is held by {clipped(holder)}.",
        fix="Wait for it, or choose another --output-dir.",
        where=path,
    )


def file_not_written(path: str, error: OSError) -> Problem:
    """The system refused to write; the old content is unchanged."""
    return Problem(
        code="MENS-E005",
        what=f"it cannot be written: {cause(error)}.",
        fix="Check permissions and free space, then start again.",
        where=path,
    )


def device_memory_exhausted(device: str, peak: int) -> Problem:
    """The device or the machine ran out of memory."""
    return Problem(
        code="MENS-E006",
        what=f"the device {device} ran out of memory; {peak / 2**20:,.0f} MiB were in use.",
        fix="Lower --batch-size, --seq-len or --rank; vox mens train --dry-run shows the estimate.",
    )


def device_failed(device: str, reason: str) -> Problem:
    """The device's driver or a kernel reports a failure."""
    return Problem(
        code="MENS-E007",
        what=f"the device {device} failed: {clipped(reason)}.",
        fix="Try again, or run with --device cpu.",
    )


def system_refused(where: str | None, cause: str) -> Problem:
    """The operating system refused an operation unexpectedly."""
    return Problem(
        code="MENS-E090",
        what=f"the system refused: {cause}.",
        where=where,
        fix="Check the path, its permissions and the free space.",
    )


def memory_exhausted() -> Problem:
    """Python could not allocate memory."""
    return Problem(
        code="MENS-E091",
        what="there is not enough memory.",
        fix="Lower --batch-size, --seq-len or --rank.",
    )
