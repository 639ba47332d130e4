"""A failure that comes with a report: `--json` prints both in one document."""

from __future__ import annotations

from collections.abc import Mapping

from vox_tensor.errors import FailureKind, Problem, VoxError


class ReportedFailureError(VoxError):
    """An input was examined and failed the checks."""

    def __init__(self, report: Mapping[str, object], *problems: Problem) -> None:
        super().__init__(*problems)
        self.report = report


class MissedGateError(ReportedFailureError):
    """An input was measured and missed a gate (exit 6)."""

    kind = FailureKind.GATE_MISSED
