"""`samples.json`: answers to a few held-out prompts before and after training. No torch.

It has the text of rows, so that it is only written when asked for (`--samples`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.json_fields import FieldError, take, take_count
from vox_populi.files.strict_json import read_json_object
from vox_populi.operator_messages import run_reports as say

SAMPLES_FILE = "samples.json"
SAMPLES_SCHEMA_VERSION = 1
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One held-out prompt and what was answered."""

    prompt: str
    """The text that the answer follows, as the model reads it."""
    expected: str
    """What the row has as its answer."""
    before: str
    """Greedy answer of the model as it was before training."""
    after: str | None = None
    """Greedy answer with the final adapter; `None` until the run is complete."""


def with_answers(samples: Sequence[Sample], answers: Sequence[str]) -> tuple[Sample, ...]:
    """The samples with their answers after training."""
    return tuple(replace(each, after=answer) for each, answer in zip(samples, answers, strict=True))


def samples_as_json(samples: Sequence[Sample]) -> dict[str, object]:
    """The document."""
    return {
        "schema_version": SAMPLES_SCHEMA_VERSION,
        "samples": [asdict(each) for each in samples],
    }


def read_samples(run: Path) -> tuple[Sample, ...]:
    """The samples of a run folder; none if it has no such file.

    Raises:
        ArtifactError: For a damaged file.
    """
    path = run / SAMPLES_FILE
    if not path.is_file():
        return ()
    try:
        values = read_json_object(path, _MAX_BYTES)
        take_count(values, "schema_version", lowest=1)
        return tuple(_sample(each) for each in _listed(values))
    except (ModelError, FieldError) as error:
        raise ArtifactError(say.SAMPLES_INVALID.at(str(path))) from error


def _listed(values: Mapping[str, object]) -> list[object]:
    listed = values.get("samples")
    if not isinstance(listed, list):
        message = "samples is missing or no list"
        raise FieldError(message)
    return listed


def _sample(value: object) -> Sample:
    if not isinstance(value, Mapping):
        message = "a sample is not an object"
        raise FieldError(message)
    after = value.get("after")
    return Sample(
        prompt=take(value, "prompt", str),
        expected=take(value, "expected", str),
        before=take(value, "before", str),
        after=after if isinstance(after, str) else None,
    )
