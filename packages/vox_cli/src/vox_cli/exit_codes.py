"""The exit codes of every command: one table, which the docs render."""

from __future__ import annotations

from enum import IntEnum

from vox_tensor.errors import FailureKind


class ExitCode(IntEnum):
    """The exit status for the shell."""

    DONE = 0
    OUR_BUG = 1
    USAGE = 2
    REFUSED = 3
    RUN_FAILED = 4
    ENVIRONMENT = 5
    GATE_MISSED = 6
    MISSING_EXTRA = 7
    OUT_OF_TIME = 124
    HUNG_UP = 129
    INTERRUPTED = 130
    READER_GONE = 141
    TERMINATED = 143


EXIT_CODE_OF_KIND = {
    FailureKind.USAGE: ExitCode.USAGE,
    FailureKind.REFUSED: ExitCode.REFUSED,
    FailureKind.RUN_FAILED: ExitCode.RUN_FAILED,
    FailureKind.ENVIRONMENT: ExitCode.ENVIRONMENT,
    FailureKind.GATE_MISSED: ExitCode.GATE_MISSED,
    FailureKind.MISSING_EXTRA: ExitCode.MISSING_EXTRA,
}

MEANING_OF_CODE = {
    ExitCode.DONE: "Done.",
    ExitCode.OUR_BUG: "A bug in this program; `VOX_DEBUG=1` shows where.",
    ExitCode.USAGE: "Usage or configuration: a flag, an environment variable or a config file.",
    ExitCode.REFUSED: "Refused before anything ran: malformed input, contract, preflight or plan.",
    ExitCode.RUN_FAILED: "The run failed: non-finite loss, resume mismatch.",
    ExitCode.ENVIRONMENT: "The environment: disk, permission, lock, memory, device.",
    ExitCode.GATE_MISSED: "A gate, parity or quality threshold was missed.",
    ExitCode.MISSING_EXTRA: "An extra is not installed; the message has the install command.",
    ExitCode.OUT_OF_TIME: "A training run reached `--max-runtime-secs`; it leaves a checkpoint.",
    ExitCode.HUNG_UP: "The terminal was closed (SIGHUP); a training run leaves a checkpoint.",
    ExitCode.INTERRUPTED: "Interrupted (Ctrl-C); a training run leaves a checkpoint.",
    ExitCode.READER_GONE: "The reader of standard output closed it, as `head` does.",
    ExitCode.TERMINATED: "Terminated (SIGTERM); a training run leaves a checkpoint.",
}
