"""A run as read from its folder: results, settings, digests. No torch.

`status` says how far a run is; a record is what runs are listed and compared by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vox_populi.contract.finetune_contract import setting_recorded_as
from vox_populi.errors import ArtifactError
from vox_populi.events import EventName
from vox_populi.files.folder_lock import lock_holder
from vox_populi.files.known_names import MANIFEST_FILE, REQUEST_FILE
from vox_populi.files.strict_json import read_json_object
from vox_populi.operator_messages import checkpoint as say
from vox_populi.runs.checkpoint_dir import list_checkpoints
from vox_populi.runs.manifest import read_manifest
from vox_populi.runs.request import RunRequest, read_run_request
from vox_populi.runs.run_dir import TELEMETRY_FILE, TIMES_FILE, require_regular_files, run_files
from vox_populi.runs.run_history import (
    RunHistory,
    RunState,
    first_count,
    first_number,
    read_history,
    run_state,
    text_or_none,
)

_MAX_TIMES_BYTES = 1 << 20
_RUN_MARKS = (REQUEST_FILE, MANIFEST_FILE, TELEMETRY_FILE)

Values = Mapping[str, object]
NOTHING: Values = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What the files of a run say."""

    path: Path
    state: RunState
    started_at: str | None
    """UTC, RFC 3339."""
    seconds: float | None
    """Wall time of the last session's training."""
    step: int
    planned_steps: int | None
    tokens: int | None
    supervised_tokens: int | None
    train_loss: float | None
    """Mean over the last epoch; of an incomplete run, of its last step."""
    evaluations: Mapping[int, float]
    """Held-out loss by step; 0 is before training."""
    heldout_loss: float | None
    """The loss of the final adapter or, in an incomplete run, of the last evaluation."""
    tokens_per_second: float | None
    peak_memory_bytes: int | None
    base: str | None
    graph_id: str | None
    settings: Values
    """Recorded settings by flag, without paths."""
    digests: Mapping[str, str]
    """Digests of the inputs (base, data, valid, …), the request and the adapter."""
    program: Mapping[str, str]
    """Device, number type and versions."""
    checkpoints: tuple[str, ...] = ()
    failure: str | None = None
    history: RunHistory = field(default_factory=RunHistory, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.resolve().name

    @property
    def heldout_loss_before(self) -> float | None:
        """Held-out loss before training."""
        return self.evaluations.get(0)

    @property
    def best_step(self) -> int | None:
        """The step, after the first, with the lowest held-out loss."""
        trained = {step: loss for step, loss in self.evaluations.items() if step > 0}
        return min(trained, key=trained.__getitem__) if trained else None

    @property
    def best_heldout_loss(self) -> float | None:
        """The lowest held-out loss after a step."""
        return None if self.best_step is None else self.evaluations[self.best_step]


def is_run_folder(path: Path) -> bool:
    """Whether a folder has a file that only runs have."""
    return any((path / name).is_file() for name in _RUN_MARKS)


def read_run_record(run: Path, history: RunHistory | None = None) -> RunRecord:
    """Read a run that is running, complete, failed or abandoned.

    Args:
        run: Its folder.
        history: Its telemetry, if that was read already.

    Raises:
        ArtifactError: When the path is not a run folder, or one of its files is damaged.
        ModelError: For damaged times.
    """
    require_regular_files(run)
    if not is_run_folder(run) and not run_files(run):
        raise ArtifactError(say.NOT_A_RUN_FOLDER.at(str(run)))
    manifest = read_manifest(run / MANIFEST_FILE) if (run / MANIFEST_FILE).is_file() else NOTHING
    times = _times(run)
    if history is None:
        # What is complete is in the other files, and telemetry can be long.
        is_needed = not manifest or not times
        history = read_history(run / TELEMETRY_FILE) if is_needed else RunHistory()
    request = run / REQUEST_FILE
    found = read_run_request(request) if request.is_file() else None
    return _record(run, history, manifest, times, found)


def _record(
    run: Path, history: RunHistory, manifest: Values, times: Values, request: RunRequest | None
) -> RunRecord:
    results = _object(manifest, "results")
    start, step = history.of(EventName.TRAIN_START), history.of(EventName.STEP)
    return RunRecord(
        path=run,
        state=run_state(run, lock_holder(run), history),
        started_at=text_or_none(times.get("started_at")) or _time_of(history.first_ts_ms),
        seconds=first_number(_object(times, "seconds").get("train")),
        step=first_count(results.get("steps"), step.get("step")) or 0,
        planned_steps=first_count(
            manifest.get("planned_steps_total"), start.get("planned_steps_total")
        ),
        tokens=first_count(results.get("tokens"), step.get("tokens_total")),
        supervised_tokens=first_count(
            results.get("supervised_tokens"), step.get("supervised_tokens_total")
        ),
        train_loss=first_number(results.get("train_loss"), step.get("loss")),
        evaluations=dict(_evaluations(results)) or dict(history.evaluations),
        heldout_loss=first_number(
            results.get("heldout_loss_after"), history.of(EventName.EVALUATION).get("val_loss")
        ),
        tokens_per_second=first_number(
            times.get("tokens_per_second"), step.get("mean_tokens_per_sec")
        ),
        peak_memory_bytes=first_count(
            times.get("peak_memory_bytes"), step.get("peak_memory_bytes")
        ),
        base=text_or_none(manifest.get("base_model")) or text_or_none(start.get("base_model")),
        graph_id=text_or_none(manifest.get("graph_id")) or text_or_none(start.get("graph_id")),
        settings=dict(_settings(NOTHING if request is None else request.contract)),
        digests=dict(_digests(manifest, request)),
        program=NO_PROGRAM if request is None else request.program,
        checkpoints=tuple(each.name for each in list_checkpoints(run)),
        failure=text_or_none((history.failure or NOTHING).get("message")),
        history=history,
    )


NO_PROGRAM: Mapping[str, str] = {}


def _times(run: Path) -> Values:
    path = run / TIMES_FILE
    return read_json_object(path, _MAX_TIMES_BYTES) if path.is_file() else NOTHING


def _time_of(ts_ms: int | None) -> str | None:
    if ts_ms is None or not 0 <= ts_ms < 1e14:
        return None
    return datetime.fromtimestamp(ts_ms // 1000, UTC).isoformat(timespec="seconds")


def _object(values: Values, name: str) -> Values:
    value = values.get(name)
    return value if isinstance(value, dict) else NOTHING


def _evaluations(results: Values) -> Iterator[tuple[int, float]]:
    listed = results.get("evaluations")
    for each in listed if isinstance(listed, list) else ():
        match each:
            case {"step": int(step), "loss": int() | float() as loss}:
                yield step, float(loss)


def _settings(contract: Values) -> Iterator[tuple[str, object]]:
    """The leaves of a request under the flags that set them."""
    for name, value in contract.items():
        if isinstance(value, dict):
            yield from _settings(value)
            continue
        setting = setting_recorded_as(name)
        if setting is None:
            yield name, value
        elif setting.spec.negated:
            yield setting.flag, not value
        else:
            yield setting.flag, value


def _digests(manifest: Values, request: RunRequest | None) -> Iterator[tuple[str, str]]:
    if request is not None:
        yield from request.inputs.items()
        yield "request", request.digest
    for name, facts in _object(manifest, "artifacts").items():
        if isinstance(facts, dict) and isinstance(facts.get("sha256"), str):
            yield name, f"sha256:{facts['sha256']}"
