"""What is to be seen when a merge is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.pipeline import merge_run
from vox_populi.pipeline.merge import QloraMergeRequest
from vox_tensor.errors import FailureKind, VoxError


def content(folder: Path) -> dict[str, bytes]:
    """Files of a folder that has no folders."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refused(
    request: QloraMergeRequest, *codes: str, kind: FailureKind = FailureKind.REFUSED
) -> VoxError:
    """The refusal of a request: a line for each problem, its kind, nothing left behind."""
    before = content(request.output) if request.output.is_dir() else None
    with pytest.raises(VoxError) as caught:
        merge_run.merge(request)
    assert tuple(problem.code for problem in caught.value.problems) == codes
    assert caught.value.kind is kind
    assert all("\n" not in str(problem) for problem in caught.value.problems)
    after = content(request.output) if request.output.is_dir() else None
    assert after == before
    if request.output.parent.is_dir():
        assert not [p for p in request.output.parent.iterdir() if p.name.endswith(".merging")]
    return caught.value
