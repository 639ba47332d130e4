"""Runs on several processes (MENS-R200 to R219, R230 to R249, P100 to P119)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_tensor.errors import Problem


def peer_lost(reason: str) -> Problem:
    """A process of the run does not answer any more."""
    return Problem(
        code="MENS-R200",
        what=f"another process of this run ended ({reason}).",
        fix="Look for the message of that process; then start the same command with --resume auto.",
    )


def rank_killed(rank: int, signal_name: str, exit_code: int) -> Problem:
    """A process of the run was ended from outside, and could not say why."""
    return Problem(
        code="MENS-R201",
        what=(
            f"process {rank} of this run was ended by {signal_name} (exit code {exit_code});"
            " the others were stopped."
        ),
        fix=(
            "If the system was short of memory, use fewer processes, a smaller --batch-size or"
            " --seq-len; then start the same command with --resume auto."
        ),
    )


def rank_stopped(rank: int, exit_code: int) -> Problem:
    """A process of the run was stopped, and everybody waited for it."""
    return Problem(
        code="MENS-R230",
        what=(
            f"process {rank} of this run was stopped from outside (SIGSTOP) and not continued, so"
            f" all of them waited; it was ended (exit code {exit_code})."
        ),
        fix="To interrupt a run, use Ctrl-C; then start the same command with --resume auto.",
    )


def peer_silent(ranks: Sequence[int], seconds: int) -> Problem:
    """Processes of the run are not heard of, though no connection was closed."""
    named = ", ".join(map(str, ranks))
    return Problem(
        code="MENS-R240",
        what=(
            f"nothing was heard of process {named} of this run for {seconds} seconds: its machine"
            " or the network between is gone, or it was stopped."
        ),
        fix=(
            "Look at that machine and the network; then start the same command with --resume auto."
        ),
    )


def adapters_differ(step: int, ranks: Sequence[int]) -> Problem:
    """The processes should have learned the same bits and did not."""
    named = ", ".join(map(str, ranks))
    return Problem(
        code="MENS-R202",
        what=f"after step {step} the adapter of process {named} differs from that of process 0.",
        fix=(
            "Use processors or cards of one kind, the same --threads and the same versions"
            " everywhere; then resume from the last checkpoint."
        ),
    )


def requests_differ(names: Sequence[str], rank: int) -> Problem:
    """A process reads other inputs, or was started with other settings."""
    return Problem(
        code="MENS-R203",
        what=f"process {rank} differs from process 0 in: {', '.join(names)}.",
        fix="Start every process with the same command on the same files.",
    )


def peers_missing(size: int, reason: str) -> Problem:
    """The processes of the run did not find each other."""
    return Problem(
        code="MENS-R204",
        what=f"the {size} processes of this run cannot reach each other ({reason}).",
        fix="Start all of them, with the address and port of the first; see torchrun --help.",
    )


def rank_variables_unusable(reason: str) -> Problem:
    """The variables that a launcher sets are incomplete or not numbers."""
    return Problem(
        code="MENS-R205",
        what=f"the environment says that this is one of several processes, but {reason}.",
        fix="Start it with torchrun or --nproc, or unset RANK and WORLD_SIZE.",
    )


def card_shared(ranks: Sequence[int]) -> Problem:
    """Several processes would compute on one card."""
    named = " and ".join(map(str, ranks))
    return Problem(
        code="MENS-R206",
        what=f"processes {named} of this run would compute on the same card.",
        fix="Start as many processes as there are cards, or use --device cpu.",
    )


def patience_unusable(name: str, value: str) -> Problem:
    """The time that processes have to stop is not a number of seconds."""
    return Problem(
        code="MENS-R210",
        what=f"{name} is {value!r}, not a whole number of seconds.",
        fix=f"Unset {name}, or set it to a number such as 120.",
    )


def step_tried_alone(size: int) -> Problem:
    """A step is tried in one process only."""
    return Problem(
        code="MENS-R211",
        what=f"a step is tried in one process, not in {size}.",
        where="--dry-run=step",
        fix="Omit --nproc, or use --dry-run to show the plan of all processes.",
    )


NOTE_LAUNCHER_GONE = "note: the launcher of this run has ended, so the run stops too."
"""A process stops since nobody is left to stop it."""


def nproc_beyond_launcher(nproc: int, size: int) -> Problem:
    """A launcher has started the processes, and the flag wants a different number."""
    return Problem(
        code="MENS-P100",
        what=f"the launcher started {size} processes here.",
        where=f"--nproc {nproc}",
        fix="Omit --nproc under torchrun.",
    )


PROXY_NOT_DIVIDED = Problem(
    code="MENS-P102",
    what="the proxy graph cannot be divided among processes.",
    where="--shard always",
    fix="Omit --shard: the proxy reads only its own layers. Or use --qlora-graph full.",
)
"""Only the full graph has blocks that are gathered one after the other."""


def torch_too_old_to_divide(found: str, least: str) -> Problem:
    """FSDP of older versions refuses frozen parameters that are not numbers."""
    return Problem(
        code="MENS-P103",
        what=f"torch {found} cannot divide a base in NF4 among processes.",
        where="torch",
        fix=f"Install torch {least} or newer, or use --shard never.",
    )


NOTE_SAMPLES_LEFT_OUT = "--samples has no effect: the processes hold the base together."
"""Answers would take every process through the same text."""

TORCH_WITHOUT_DISTRIBUTED = Problem(
    code="MENS-P101",
    what="this build of torch has no torch.distributed.",
    fix="Use one process, or install a build of torch that has it.",
)
"""This build of torch has one process only."""


def _counted(passes: int) -> str:
    return "1 forward pass" if passes == 1 else f"{passes} forward passes"


def note_ranks_idle(size: int, passes: int, flag: str) -> str:
    """A step has fewer forward passes than there are processes."""
    return (
        f"A step makes about {_counted(passes)} for {size} processes, so that some wait."
        f" With {flag} each has its part; the numbers then are those of {flag} in one process."
    )


def note_rounding(size: int) -> str:
    """The result is not that of one process to the last bit."""
    return (
        f"With {size} processes the adapter equals that of one process within rounding;"
        " with 2, 4, 8 or 16 it is the same to the last bit."
    )
