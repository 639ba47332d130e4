"""Rows of a training and a held-out side, collected without keeping their text in memory.

The text goes to a temporary file without a name, which the system removes with its process. What
is kept of a row is about 40 bytes.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import weakref
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO

from vox_populi.corpus.key_set import KeySet
from vox_populi.corpus.legacy_rules import LegacyFilter
from vox_populi.corpus.pair_files import PairRow
from vox_populi.corpus.source_places import GOLDEN_KEY
from vox_populi.number_ranges import COUNT, require_ranges
from vox_tensor.jsonl import jsonl_line

_HELDOUT, _GOLDEN = 1, 2


class LeftOut(StrEnum):
    """Why a part of a source does not give a row."""

    TOO_SHORT = "too_short"
    """Its question or its answer says too little."""
    TOO_LONG = "too_long"
    NOT_TEXT = "not_text"
    """It is not UTF-8, or has control characters."""
    DUPLICATE_ANSWER = "duplicate_answer"
    """Another row has the same answer."""
    DUPLICATE_PROMPT = "duplicate_prompt"
    SEEN_IN_TRAINING = "seen_in_training"
    """Held out, but its answer or its prompt occurs in a training row."""
    BEYOND_MAX_ROWS = "beyond_max_rows"
    LEGACY = "legacy"
    """A rule marks one of its lines as legacy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideOptions:
    """How many rows each side may have, and which are left out by rules."""

    max_rows: int | None = None
    """Largest number of training rows: golden examples, then others by a hash."""
    max_heldout_rows: int | None = None
    include_archive: bool = False
    """Read the files of archive folders too."""
    legacy: LegacyFilter = field(default_factory=LegacyFilter)

    def __post_init__(self) -> None:
        require_ranges(
            ("--max-rows", self.max_rows, COUNT),
            ("--max-valid-rows", self.max_heldout_rows, COUNT),
        )


class _Spool:
    """A temporary file of lines, closed when nothing refers to it any more."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the finalizer
        self._size = 0
        weakref.finalize(self, self._file.close)

    def append(self, line: bytes) -> int:
        """Add a line; return its offset."""
        offset = self._size
        self._file.write(line)
        self._size += len(line)
        return offset

    def line_at(self, offset: int) -> bytes:
        """The line that starts at an offset."""
        self._file.seek(offset)
        return self._file.readline()


class SpooledRows:
    """Rows in a temporary file, in an order of their own; they can be read any number of times."""

    def __init__(self, spool: _Spool, offsets: array[int]) -> None:
        self._spool = spool
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, row: object) -> bool:
        return any(row == each for each in self)

    def __iter__(self) -> Iterator[PairRow]:
        for offset in self._offsets:
            row: PairRow = json.loads(self._spool.line_at(offset))
            yield row


@dataclass(frozen=True, slots=True)
class Sides:
    """The rows of both sides."""

    train: SpooledRows
    heldout: SpooledRows
    golden_rows: int
    left_out: Mapping[LeftOut, int]


class RowSides:
    """Collects rows; `sides` then decides which of equal ones are kept."""

    def __init__(self, options: SideOptions) -> None:
        self._options = options
        self._spool = _Spool()
        self._offsets = array("Q")
        self._prompts, self._answers = array("Q"), array("Q")
        self._flags = array("B")
        self._left_out: Counter[LeftOut] = Counter()

    def leave_out(self, reason: LeftOut) -> None:
        """Count a part of a source that gives no row."""
        self._left_out[reason] += 1

    def add(
        self, row: dict[str, object], *, answer: object = None, heldout: bool, golden: bool
    ) -> None:
        """Add a row, unless a rule leaves it out.

        Args:
            row: With `prompt`, `response` and metadata; tags are added at its end.
            answer: What counts as its answer when answers are compared; `None` for `response`.
            heldout: Its side.
            golden: Whether it is from a golden example.
        """
        prompt, response = str(row["prompt"]), str(row["response"])
        tags = self._options.legacy.tags((prompt, response))
        if tags is None:
            self.leave_out(LeftOut.LEGACY)
            return
        if golden:
            row = {**row, GOLDEN_KEY: True}
        self._offsets.append(self._spool.append(jsonl_line({**row, **tags})))
        self._prompts.append(_key(prompt))
        self._answers.append(_key(response if answer is None else answer))
        self._flags.append(_HELDOUT * heldout + _GOLDEN * golden)

    def sides(self) -> Sides:
        """The rows that are kept, golden examples first on each side."""
        of_train, of_heldout = _Seen(), _Seen()
        kept: tuple[list[int], list[int]] = ([], [])
        # Training rows first: a held-out row must know all of them.
        for number in sorted(range(len(self._flags)), key=self._place):
            is_heldout = bool(self._flags[number] & _HELDOUT)
            reason = self._repeated(number, of_train, of_heldout if is_heldout else None)
            if reason is None:
                kept[is_heldout].append(number)
            else:
                self.leave_out(reason)
        limits = (self._options.max_rows, self._options.max_heldout_rows)
        train, heldout = (
            self._limited(numbers, limit) for numbers, limit in zip(kept, limits, strict=True)
        )
        return Sides(
            train=self._spooled(train),
            heldout=self._spooled(heldout),
            golden_rows=sum(self._flags[number] & _GOLDEN > 0 for number in (*train, *heldout)),
            left_out={reason: self._left_out[reason] for reason in LeftOut},
        )

    def _place(self, number: int) -> tuple[int, bool, int]:
        flags = self._flags[number]
        return flags & _HELDOUT, not flags & _GOLDEN, number

    def _repeated(self, number: int, train: _Seen, heldout: _Seen | None) -> LeftOut | None:
        """Why a row is a repetition; otherwise it is remembered."""
        prompt, answer = self._prompts[number], self._answers[number]
        if heldout is not None and (prompt in train.prompts or answer in train.answers):
            return LeftOut.SEEN_IN_TRAINING
        seen = train if heldout is None else heldout
        if answer in seen.answers:
            return LeftOut.DUPLICATE_ANSWER
        if prompt in seen.prompts:
            return LeftOut.DUPLICATE_PROMPT
        seen.answers.add(answer)
        seen.prompts.add(prompt)
        return None

    def _limited(self, numbers: list[int], limit: int | None) -> list[int]:
        """At most `limit` rows: golden examples, then others by a hash of their prompt."""
        if limit is None or len(numbers) <= limit:
            return numbers
        self._left_out[LeftOut.BEYOND_MAX_ROWS] += len(numbers) - limit
        ranked = sorted(
            numbers, key=lambda each: (not self._flags[each] & _GOLDEN, self._prompts[each], each)
        )
        return sorted(ranked[:limit], key=self._place)

    def _spooled(self, numbers: list[int]) -> SpooledRows:
        return SpooledRows(self._spool, array("Q", (self._offsets[each] for each in numbers)))


class _Seen:
    """Keys of the rows of one side."""

    def __init__(self) -> None:
        self.prompts, self.answers = KeySet(), KeySet()


def _key(value: object) -> int:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
