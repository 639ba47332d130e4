"""The machine: folders, files, disks, memory and devices (MENS-E, MENS-P)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import (
    clipped,
    gib,
)
from vox_tensor.errors import Problem, cause

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


def output_overlaps(other: str) -> Problem:
    """The output would replace, contain or be inside an input."""
    return Problem(
        code="MENS-A046",
        what=f"the output overlaps the input {other}.",
        fix="Choose an --output-dir that is neither inside an input nor contains one.",
    )


OUTPUT_HOLDS_WORKING_FOLDER = Problem(
    code="MENS-E041",
    what="the output folder is or contains the working folder, which is never moved.",
    fix="Choose another --output-dir, or start the command from another folder.",
)
"""Moving the working folder would break the shell that started the command."""

STAGING_FOLDER_FOREIGN = Problem(
    code="MENS-E042",
    what="this folder is needed for writing, but it contains other files.",
    fix="Move it away, or choose another --output-dir.",
)
"""A folder with the temporary name of an output that none of our commands left behind."""

OUTPUT_NOT_A_FOLDER = Problem(
    code="MENS-E002",
    what="a file is in the way.",
    fix="Pass a folder with --output-dir.",
)
"""A file in place of the run folder or of one of its parents."""

OUTPUT_FOLDER_IS_LINK = Problem(
    code="MENS-E003",
    what="this is a link; runs are not written through links.",
    fix="Pass the folder itself with --output-dir.",
)
"""Writing never follows links."""


def folder_locked(holder: str) -> Problem:
    """Another process is writing to this folder."""
    return Problem(
        code="MENS-E004",
        what=f"the folder is held by {clipped(holder)}.",
        fix="Wait for it, or choose another --output-dir.",
    )


def file_not_written(error: OSError) -> Problem:
    """The system refused to write; the old content is unchanged."""
    return Problem(
        code="MENS-E005",
        what=f"it cannot be written: {cause(error)}.",
        fix="Check permissions and free space, then start again.",
    )


def device_memory_exhausted(device: str, peak: int) -> Problem:
    """The device or the machine ran out of memory."""
    return Problem(
        code="MENS-E006",
        what=f"the device {device} ran out of memory; {peak / 2**20:,.0f} MiB were in use.",
        fix="Lower --batch-size, --seq-len or --rank, or pass --activation-memory full; vox mens"
        " train --dry-run shows the estimate.",
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


MEMORY_EXHAUSTED = Problem(
    code="MENS-E091",
    what="there is not enough memory.",
    fix="Lower --batch-size, --seq-len or --rank.",
)
"""Python could not allocate memory."""


def merge_disk_too_small(path: str, needed: int, free: int) -> Problem:
    """The merged folder would not fit on the disk."""
    return Problem(
        code="MENS-E020",
        what=f"the merged folder needs {gib(needed)}, but only {gib(free)} are free there.",
        fix="Free some space, or choose an --output-dir on another disk.",
        where=path,
    )


def folder_not_published(error: OSError) -> Problem:
    """The finished folder could not be moved into place; the old one is unchanged."""
    return Problem(
        code="MENS-E021",
        what=f"the finished folder cannot be moved into place: {cause(error)}.",
        fix="Check permissions and that nothing else writes there, then start again.",
    )


def device_absent(device: str) -> Problem:
    """The requested device does not exist, or torch was built without support for it."""
    return Problem(
        code="MENS-P007",
        what=f"there is no {device} device that torch can use.",
        where="--device",
        fix="Pass --device best or --device cpu; vox mens doctor lists the devices.",
    )


def device_unusable(device: str, reason: str) -> Problem:
    """The device exists, but torch cannot use it."""
    return Problem(
        code="MENS-P040",
        what=f"the {device} device cannot be used: {clipped(reason)}.",
        where="--device",
        fix="Stop other programs that use it, or pass --device cpu.",
    )


def memory_too_small(device: str, needed: int, available: int) -> Problem:
    """The estimate exceeds the memory of the device."""
    return Problem(
        code="MENS-P008",
        what=f"needs about {gib(needed)}, but {device} has {gib(available)}{_free_on(device)}.",
        fix="Lower --batch-size, --seq-len or --rank; vox mens train --dry-run shows each term.",
    )


def output_not_writable(reason: str) -> Problem:
    """The run folder cannot be created or written to."""
    return Problem(
        code="MENS-P009",
        what=f"the output folder cannot be written: {reason}.",
        fix="Choose another --output-dir, or change its permissions.",
    )


def disk_too_small(path: str, needed: int, free: int) -> Problem:
    """The run's files would not fit on the disk."""
    return Problem(
        code="MENS-P010",
        what=f"the run's files need up to {gib(needed)}, but only {gib(free)} are free there.",
        fix="Free some space, or choose an --output-dir on another disk.",
        where=path,
    )


NOTE_DEVICE_UNKNOWN = "torch was not loaded, so no GPU was looked for; the plan is for cpu."
"""No GPU could be detected, because torch is not loaded."""


def note_device_not_checked(device: str) -> str:
    """A GPU was requested but could not be looked for."""
    return f"torch was not loaded, so it was not checked whether there is a {device} device."


def note_bf16_slow(device: str) -> str:
    """bf16 was requested on a device that emulates it."""
    return f"--dtype bf16 on this {device} device may be slower than f32, not faster."


NOTE_NO_BF16 = (
    "this CUDA device has no bf16 hardware and emulates it, so the run computes in f32; f16"
    " would lose small gradients."
)
"""The automatic choice avoids emulation. In f16, unscaled losses have gradients of zero."""


def note_device_passed_over(device: str, reason: str) -> str:
    """The automatic choice rejected a device after trying it, or could not try it."""
    return (
        f"--device best skipped {device}: {clipped(reason)}. Pass --device {device} to use it"
        " anyway."
    )


def note_memory_short(device: str, needed: int, available: int) -> str:
    """The plan is for a larger machine; a run here would be refused."""
    has = f"{gib(available)}{_free_on(device)}"
    return f"needs about {gib(needed)} of memory, but this device has {has}."


def _free_on(device: str) -> str:
    """On CUDA only free memory counts."""
    return " free" if device == "cuda" else ""


def note_preset_chosen(name: str, needed: int, available: int, device: str) -> str:
    """`--preset auto`."""
    return (
        f"--preset auto chose {name}: it needs about {_gib(needed)} of the {_gib(available)} of"
        f" {device}. Pass --preset {name} to get the same elsewhere."
    )


def preset_needs_memory(device: str) -> Problem:
    """`--preset auto` on a system that does not tell its memory."""
    return Problem(
        code="MENS-E093",
        what=f"--preset auto cannot choose: the memory of {device} is not known.",
        where="--preset",
        fix="Name a preset, such as --preset safe.",
    )


def no_preset_fits(
    smallest: str, needed: int, available: int, seq_len: int, positions: int
) -> Problem:
    """`--preset auto` where not even the smallest preset fits."""
    why = (
        f"needs about {_gib(needed)}, and {_gib(available)} are available"
        if seq_len <= positions
        else f"has rows of {seq_len} tokens, and the base has {positions} positions"
    )
    return Problem(
        code="MENS-E094",
        what=f"--preset auto found none that fits: the smallest, {smallest}, {why}.",
        where="--preset",
        fix="Use --backend qlora or a smaller --model, or set --seq-len, --batch-size and --rank"
        " yourself.",
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def note_parts_by_torch(parts: Sequence[str], reason: str) -> str:
    """Parts of a model in several operations, where a GPU could do with one kernel."""
    return (
        f"{', '.join(parts)}: computed in several operations of torch's, because our kernel is not "
        f"used ({clipped(reason)}): slower."
    )


def note_attention_by_rows(reason: str) -> str:
    """Attention row by row, where a GPU could compute all rows of a window at once."""
    return (
        f"attention is computed row by row, because torch's kernel for whole windows is not used"
        f" ({clipped(reason)}): slower if rows are short."
    )
