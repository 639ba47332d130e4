"""Checks before torch is loaded: outputs that exist, and inputs that are missing.

Each check examines a path of a request like its runner does, with the same messages; the runner
checks again, since a folder may fill in between. `refuse_all` reports all problems together.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vox_populi.data.asked_rows import AskedRows, asked_places
from vox_populi.errors import ArtifactError
from vox_populi.files.known_names import PEFT_CONFIG_FILE
from vox_populi.files.output_guard import Reads, require_new_folder
from vox_populi.hf.model_place import is_gguf, refuse_other_place
from vox_populi.merge.merged_file import MERGED_FILE
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages import model_folder as say_model_folder
from vox_populi.pipeline.weights_choice import WeightsChoice, with_source
from vox_populi.plan.findings import Findings
from vox_populi.runs.adapter_place import require_run_adapter
from vox_tensor.errors import Problem, VoxError
from vox_tensor.regular_file import open_regular_file


def refuse_all(*checks: Callable[[], object]) -> None:
    """Run all checks; raise a single error as it is, and several together."""
    found = Findings()
    errors: list[VoxError] = []

    def run(check: Callable[[], object]) -> None:
        try:
            check()
        except VoxError as error:
            errors.append(error)
            raise

    for check in checks:
        found.attempt(partial(run, check))
    if len(errors) == 1:
        raise errors[0]
    found.raise_if_any()


def weights_checks(choice: WeightsChoice) -> tuple[Callable[[], object], ...]:
    """The checks for a request's weights."""
    choice = with_source(choice)
    return (
        lambda: _require_model_or_merged_file(choice.model_dir),
        lambda: None if choice.run is None else require_run_adapter(choice.run),
        lambda: None if choice.checkpoint is None else require_adapter(choice.checkpoint),
        lambda: None if choice.adapter is None else require_peft(choice.adapter),
    )


def require_present(path: Path | None, problem: Callable[[str], Problem]) -> None:
    """Refuse a given path that does not exist."""
    if path is not None and not os.path.lexists(path):
        raise ArtifactError(problem(str(path)))


def require_adapter(path: Path) -> None:
    """Refuse an adapter path that does not exist."""
    require_present(
        path,
        lambda where: say_adapter.adapter_container_refused(
            say_model_folder.MODEL_FILE_MISSING.at(where)
        ),
    )


def require_peft(path: Path) -> None:
    """Refuse a folder without the config file of a PEFT adapter."""
    if not os.path.lexists(path / PEFT_CONFIG_FILE):
        raise ArtifactError(say_export.not_a_peft_folder(PEFT_CONFIG_FILE).at(str(path)))


def require_rows(asked: AskedRows) -> None:
    """Refuse a data file that cannot be opened."""
    for path in asked_places(asked):
        if not path.is_dir():
            with open_regular_file(path):
                pass


def require_model(path: Path | None) -> None:
    """Refuse a path that cannot be a model folder."""
    if path is not None:
        refuse_other_place(path)


def _require_model_or_merged_file(path: Path | None) -> None:
    is_merged = path is not None and path.is_file() and not is_gguf(path)
    if path is not None and not is_merged and not (path / MERGED_FILE).is_file():
        require_model(path)


def reads_of(*paths: Path | None) -> Reads:
    """The inputs that an output must not overlap."""
    return Reads(whole=tuple(path for path in paths if path is not None))


def require_new_export(output: Path, reads: Reads) -> None:
    """Refuse an export folder that is not empty or overlaps an input."""
    require_new_folder(output, reads, occupied=say_export.EXPORT_TARGET_EXISTS.at)
