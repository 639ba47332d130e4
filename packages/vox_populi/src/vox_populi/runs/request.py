"""`request.json`: what a run was asked for and went out from, so that going on can be refused.

Written first, so that a folder with this file in it is a run folder. No torch here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vox_populi.contract.optimizer_choice import OPTIMIZER_KEY, OptimizerKind
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.json_fields import FieldError, take, take_count, take_object
from vox_populi.files.strict_json import read_json_object
from vox_populi.operator_messages import checkpoint as say
from vox_tensor.errors import Problem

REQUEST_SCHEMA_VERSION = 1
_MAX_BYTES = 16 << 20
_ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """Everything that must be the same for a run to go on."""

    digest: str
    """Of contract and inputs together."""
    contract: Mapping[str, object]
    """`FinetuneContract.canonical()`."""
    inputs: Mapping[str, str]
    """Content digests of data, base, tokenizer, template, …"""
    program: Mapping[str, str]
    """Versions and device that the bytes of the result depend on."""

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
        """Read what `as_json` gave.

        Raises:
            FieldError: Naming the field that is missing or wrong.
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
        mine, theirs = _with_optimizer(self.contract), _with_optimizer(other.contract)
        found = [
            *_differences("contract", _as_read(mine), _as_read(theirs)),
            *_differences("inputs", self.inputs, other.inputs),
            *_differences("program", self.program, other.program),
        ]
        if not found and self.digest != other.digest:
            found = [("contract_digest", self.digest, other.digest)]
        return tuple(
            say.resume_optimizer_differs(old, new)
            if field == f"contract.{OPTIMIZER_KEY}"
            else say.resume_differs(field, old, new)
            for field, old, new in found
        )


def read_run_request(path: Path) -> RunRequest:
    """Read a run folder's request.

    Raises:
        ArtifactError: When it cannot be read or is none.
    """
    try:
        return RunRequest.from_json(read_json_object(path, _MAX_BYTES))
    except ModelError as error:
        raise ArtifactError(*error.problems) from error
    except FieldError as error:
        raise ArtifactError(say.run_request_invalid(str(path), str(error))) from error


def _texts(raw: Mapping[str, object], name: str) -> dict[str, str]:
    values = take_object(raw, name)
    return {key: take(values, key, str) for key in values}


def _with_optimizer(contract: Mapping[str, object]) -> dict[str, object]:
    """A request that names its optimizer, whichever version recorded it."""
    return {OPTIMIZER_KEY: OptimizerKind.ADAMW.value, **contract}


def _as_read(values: Mapping[str, object]) -> dict[str, object]:
    """What a document with these values holds when it is read: tuples are lists, words are text."""
    plain: dict[str, object] = json.loads(json.dumps(values))
    return plain


def _differences(
    name: str, old: Mapping[str, object], new: Mapping[str, object]
) -> Iterator[tuple[str, object, object]]:
    """Path, old value and new value of every leaf that is not the same in both."""
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(f"{name}.{key}", before, after)
        elif before != after or type(before) is not type(after):
            yield f"{name}.{key}", before, after
