"""`check_rows.json`: a few rows of a run as token ids, on which merges are checked. No torch.

What counts about a merge is its behaviour on text formatted as in training. The person who merges
has the adapter and the base but rarely the data, so the run keeps a few rows, held out if possible.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Protocol

from vox_populi.adapters.header import AdapterHeader
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.json_fields import FieldError, take, take_member
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.inventory import ModelInventory
from vox_populi.operator_messages import run as say
from vox_tensor.records import IGNORE_INDEX, EncodedRow

CHECK_ROWS_FILE = "check_rows.json"
CHECK_ROWS_VERSION = 1

MOST_ROWS = 32
MOST_TOKENS = 4096
"""Largest number of tokens in the file; a merge reads fewer if the model is large."""
_LEARNED_PER_ROW = 64
"""A row is cut after this many learned tokens: many rows tell more than one long answer. Everything
before a token is kept, so the model sees what it saw in training."""
_MAX_BYTES = 1 << 22


class RowOrigin(StrEnum):
    """The origin of check rows."""

    HELD_OUT = "held_out"
    """Held-out rows."""
    TRAIN = "train"
    """Training rows, because the run held none out."""


class Rows(Protocol):
    """Encoded rows by index."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def __getitem__(self, index: int, /) -> EncodedRow:
        """One row."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRows:
    """Rows formatted as in the run's training."""

    origin: RowOrigin
    contract_digest: str
    """Digest of the run's contract; adapters of the same run have it too."""
    rows: tuple[EncodedRow, ...]
    """Rows with at least one learned token each."""

    @property
    def n_tokens(self) -> int:
        """Tokens of all rows."""
        return sum(map(len, self.rows))

    def limited(self, most_tokens: int) -> tuple[EncodedRow, ...]:
        """The first rows up to a number of tokens, and at least one."""
        taken: list[EncodedRow] = []
        left = most_tokens
        for row in self.rows:
            if not taken or len(row) <= left:
                taken.append(row)
                left -= len(row)
        return tuple(taken)

    def as_json(self) -> dict[str, object]:
        """Content of the file."""
        return {
            "schema_version": CHECK_ROWS_VERSION,
            "origin": self.origin.value,
            "contract_digest": self.contract_digest,
            "rows": [_row_json(row) for row in self.rows],
        }


def pick_check_rows(rows: Rows, origin: RowOrigin, contract_digest: str) -> CheckRows:
    """Pick rows spread over a data set; the same data set always gives the same rows.

    Args:
        rows: At least one; each has a learned token.
        origin: Whether they are held-out or training rows.
        contract_digest: Digest of the run's contract.
    """
    count = min(MOST_ROWS, len(rows))
    picked = [_cut(rows[len(rows) * place // count]) for place in range(count)]
    whole = CheckRows(origin=origin, contract_digest=contract_digest, rows=tuple(picked))
    return CheckRows(
        origin=origin, contract_digest=contract_digest, rows=whole.limited(MOST_TOKENS)
    )


def read_check_rows(path: Path, contract_digest: str, vocab_size: int) -> CheckRows | None:
    """The rows of a run; `None` if there is no file, as with `--no-check-rows`.

    Args:
        path: The file.
        contract_digest: The adapter's digest.
        vocab_size: Rows of the base's embedding; the ids must be below.

    Raises:
        ArtifactError: For a file that cannot be used, or belongs to a different run. Continuing
            without it would silently skip the check of a merge.
    """
    if not os.path.lexists(path):
        return None
    try:
        raw = read_json_object(path, _MAX_BYTES)
        _require(raw, "schema_version", CHECK_ROWS_VERSION)
        if take(raw, "contract_digest", str) != contract_digest:
            message = "its contract_digest is not the adapter's"
            raise FieldError(message)
        listed = raw.get("rows")
        rows = tuple(_parse_rows(listed if isinstance(listed, list) else [], vocab_size))
        origin = take_member(raw, "origin", RowOrigin)
    except ModelError as error:
        raise ArtifactError(say.check_rows_invalid(error.problems[0].what).at(str(path))) from error
    except FieldError as error:
        raise ArtifactError(say.check_rows_invalid(str(error)).at(str(path))) from error
    return CheckRows(origin=origin, contract_digest=contract_digest, rows=rows)


def check_rows_of_run(
    run: Path, header: AdapterHeader, inventory: ModelInventory
) -> CheckRows | None:
    """The check rows of an adapter's run; `None` if there are none."""
    path = run / CHECK_ROWS_FILE
    return read_check_rows(path, header.contract_digest, inventory.config.vocab_size)


def _require(raw: Mapping[str, object], name: str, value: int) -> None:
    if take(raw, name, int) != value:
        message = f"{name} is not {value}"
        raise FieldError(message)


def _cut(row: EncodedRow) -> EncodedRow:
    """The row up to its last learned token, or to the last one within the limit."""
    learned = [place for place, label in enumerate(row.labels) if place and label != IGNORE_INDEX]
    end = learned[:_LEARNED_PER_ROW][-1] + 1
    return EncodedRow(row.ids[:end], row.labels[:end], row.line)


def _row_json(row: EncodedRow) -> dict[str, object]:
    spans: list[list[int]] = []
    place = 0
    for is_learned, group in groupby(label != IGNORE_INDEX for label in row.labels):
        length = len(list(group))
        if is_learned:
            spans.append([place, place + length])
        place += length
    return {"ids": list(row.ids), "learned": spans}


def _parse_rows(listed: Sequence[object], vocab_size: int) -> Iterator[EncodedRow]:
    if not 0 < len(listed) <= MOST_ROWS:
        message = f"rows: there must be 1 to {MOST_ROWS} of them"
        raise FieldError(message)
    for entry in listed:
        raw: Mapping[str, object] = entry if isinstance(entry, dict) else {}
        ids = _whole_numbers(raw.get("ids"), vocab_size)
        labels = [IGNORE_INDEX] * len(ids)
        spans = raw.get("learned")
        for span in spans if isinstance(spans, list) else []:
            first, last = _whole_numbers(span, len(ids) + 1, count=2)
            labels[first:last] = ids[first:last]
        row = EncodedRow(tuple(ids), tuple(labels))
        if not row.n_supervised:
            message = "rows: a row has nothing learned"
            raise FieldError(message)
        yield row


def _whole_numbers(value: object, bound: int, count: int | None = None) -> list[int]:
    """A list of numbers from 0 to below `bound`."""
    found = value if isinstance(value, list) else []
    # `True` is an int to Python and not to us.
    numbers = [n for n in found if isinstance(n, int) and not isinstance(n, bool)]
    is_whole = len(numbers) == len(found) and all(0 <= number < bound for number in numbers)
    if not is_whole or not numbers or (count is not None and len(numbers) != count):
        message = "rows: not a list of ids of the base"
        raise FieldError(message)
    return numbers
