"""The failures of the system, one class per stage, each of one kind (see `FailureKind`)."""

from __future__ import annotations

from vox_tensor.errors import DataError, FailureKind, VoxError

__all__ = [
    "ArtifactError",
    "ConfigError",
    "ContractError",
    "DataError",
    "EnvironmentFailure",
    "MergeMismatchError",
    "MissingExtraError",
    "ModelError",
    "PlanError",
    "PreflightError",
    "RunFailedError",
    "first_line",
]


class ConfigError(VoxError):
    """Flags, environment or a config file that do not make a valid request (exit 2)."""

    kind = FailureKind.USAGE


class ContractError(VoxError):
    """A request that contradicts itself."""


class ModelError(VoxError):
    """A base model folder that cannot be used."""


class PreflightError(VoxError):
    """Inputs that failed the checks before anything was loaded."""


class PlanError(VoxError):
    """A request that the base model cannot meet."""


class ArtifactError(VoxError):
    """An adapter, checkpoint or manifest that cannot be read."""


class RunFailedError(VoxError):
    """Training started and cannot continue."""

    kind = FailureKind.RUN_FAILED


class PeerLostError(RunFailedError):
    """Another process of the run ended; why is for that process to say."""

    is_told = False
    """Whether a launcher has already asked this process to stop."""


class MergeMismatchError(VoxError):
    """A merged model that does not compute the same as base and adapter (exit 6)."""

    kind = FailureKind.GATE_MISSED


class EnvironmentFailure(VoxError):  # noqa: N818 - `EnvironmentError` is a builtin
    """Disk, permission, lock, memory or device."""

    kind = FailureKind.ENVIRONMENT


class MissingExtraError(VoxError):
    """A command needs an extra that is not installed."""

    kind = FailureKind.MISSING_EXTRA


def first_line(error: Exception) -> str:
    """The message of another library's error, shortened to fit into a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
