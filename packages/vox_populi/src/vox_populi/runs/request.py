"""`request.json`: a run's request and inputs, compared when the run is resumed.

It is written first, so that a folder with this file is a run folder. No torch here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vox_populi.contract.finetune_contract import FinetuneContract, setting_recorded_as
from vox_populi.contract.optimizer_choice import OPTIMIZER_KEY
from vox_populi.contract.setting import Recorded, settings_of
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.json_fields import FieldError, take, take_count, take_object
from vox_populi.files.strict_json import read_json_object
from vox_populi.operator_messages import checkpoint as say
from vox_tensor.errors import Problem

REQUEST_SCHEMA_VERSION = 1
_MAX_BYTES = 16 << 20
_ABSENT = "absent"
_FLAG_OF_INPUT = {
    "base": "--model",
    "data": "--data or --data-dir (training rows)",
    "valid": "--data or --data-dir (held-out rows)",
    "tokenizer": "--tokenizer (vocabulary)",
    "template": "--template with --system-prompt",
    "init_from": "--init-from",
}
_FLAG_OF_PROGRAM = {"device": "--device", "compute_dtype": "--dtype"}
"""Flags of program entries; the other entries are versions, by the names of distributions."""


class _Difference(NamedTuple):
    name: str
    """The last word of the leaf's path, which is unique in the document."""
    old: object
    new: object


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """Everything that must stay the same for a run to be resumed."""

    digest: str
    """Digest of contract and inputs together."""
    contract: Mapping[str, object]
    """`FinetuneContract.canonical()`."""
    inputs: Mapping[str, str]
    """Content digests of data, base, tokenizer, template, …"""
    program: Mapping[str, str]
    """Versions and device on which the bytes of the result depend."""

    def as_json(self) -> dict[str, object]:
        """The document."""
        return {
            "schema_version": REQUEST_SCHEMA_VERSION,
            "contract_digest": self.digest,
            "contract": dict(self.contract),
            "inputs": dict(self.inputs),
            "program": dict(self.program),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, object]) -> RunRequest:
        """Read the output of `as_json`.

        Raises:
            FieldError: With the field that is missing or wrong.
        """
        version = take_count(raw, "schema_version", lowest=1)
        if version > REQUEST_SCHEMA_VERSION:
            message = f"schema_version is {version}, known are those up to {REQUEST_SCHEMA_VERSION}"
            raise FieldError(message)
        return cls(
            digest=take(raw, "contract_digest", str),
            contract=take_object(raw, "contract"),
            inputs=_texts(raw, "inputs"),
            program=_texts(raw, "program"),
        )

    def changes_to(self, other: RunRequest) -> tuple[Problem, ...]:
        """One problem for each field in which another request differs from this one."""
        found = [
            *map(_as_asked, _differences(_as_read(self.contract), _as_read(other.contract))),
            *_with_flag(_FLAG_OF_INPUT, _differences(self.inputs, other.inputs)),
            *_with_flag(_FLAG_OF_PROGRAM, _differences(self.program, other.program)),
        ]
        if not found and self.digest != other.digest:
            found = [_Difference("contract_digest", self.digest, other.digest)]
        return tuple(_problem(each) for each in found)


def read_run_request(path: Path) -> RunRequest:
    """Read a run folder's request.

    Raises:
        ArtifactError: When it cannot be read or is not valid.
    """
    try:
        return RunRequest.from_json(read_json_object(path, _MAX_BYTES))
    except ModelError as error:
        raise ArtifactError(*error.problems) from error
    except FieldError as error:
        raise ArtifactError(say.run_request_invalid(str(error)).at(str(path))) from error


def _texts(raw: Mapping[str, object], name: str) -> dict[str, str]:
    values = take_object(raw, name)
    return {key: take(values, key, str) for key in values}


def _as_read(contract: Mapping[str, object]) -> dict[str, object]:
    """The contract as read from a document, completed with what the document may omit."""
    left_out = {
        each.field: each.record(each.default)
        for each in settings_of(FinetuneContract)
        if each.spec.recorded is Recorded.IF_CHANGED
    }
    # Tuples are read as lists, words as text.
    plain: dict[str, object] = json.loads(json.dumps({**left_out, **contract}))
    return plain


def _differences(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[_Difference]:
    """Every leaf that differs."""
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after)
        elif isinstance(before, Mapping) or isinstance(after, Mapping):
            pass  # Settings of one backend: the backend is a difference itself.
        elif before != after or type(before) is not type(after):
            yield _Difference(key, before, after)


def _as_asked(found: _Difference) -> _Difference:
    """A difference between two contracts by its flag, with the flag's values."""
    setting = setting_recorded_as(found.name)
    if setting is None:
        return found
    if setting.spec.negated:
        return _Difference(setting.flag, not found.old, not found.new)
    return found._replace(name=setting.flag)


def _problem(found: _Difference) -> Problem:
    if found.name == f"--{OPTIMIZER_KEY}":
        return say.resume_optimizer_differs(found.name, found.old, found.new)
    return say.resume_differs(*found)


def _with_flag(flags: Mapping[str, str], found: Iterable[_Difference]) -> Iterator[_Difference]:
    return (each._replace(name=flags.get(each.name, each.name)) for each in found)
