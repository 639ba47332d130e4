"""One line of a source as the row that the mix writes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from vox_populi.corpus.row_metadata import implied_lane, with_metadata
from vox_populi.corpus.tool_trace import RecordFormat, row_of_record
from vox_populi.data.row_formats import learns_something, parse_row
from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say
from vox_tensor.records import TrainingRecord


@dataclass(frozen=True, slots=True)
class MixRow:
    """A row that can be trained on."""

    values: dict[str, object]
    """Values as written: those of the source, with completed metadata."""
    record: TrainingRecord

    @property
    def lane(self) -> str:
        """Its lane, or the one its category implies."""
        written = self.values["lane"]
        if self.record.lane is not None:
            return self.record.lane
        return written if isinstance(written, str) else implied_lane(self.values)

    def key(self) -> int:
        """64 bits of a hash of its messages; equal for rows with the same messages.

        Labels and row format are not included. Among a million different rows, two have the same
        key with a probability of 3e-8.
        """
        said: list[object] = [
            (each.role.value, each.content, each.learn)
            if each.extras is None
            else (each.role.value, each.content, each.learn, each.extras)
            for each in self.record.messages
        ]
        if self.record.tools:
            said.append(self.record.tools)
        return int.from_bytes(hashlib.blake2b(repr(said).encode(), digest_size=8).digest())


def mix_row(value: Mapping[str, object], kind: RecordFormat, line: int, where: str) -> MixRow:
    """Read a line of a source.

    Args:
        value: The JSON object of the line.
        kind: Declared format of its source.
        line: Its 1-based number.
        where: Name of its file, for messages.

    Raises:
        DataError: With every problem of the row.
    """
    place = f"{where}:{line}"
    row = written_row(value, kind, place)
    record = parse_row(row, line, where)
    if not learns_something(record):
        raise DataError(say.nothing_to_learn(truncated=False).at(place))
    return MixRow(row, record)


def written_row(value: Mapping[str, object], kind: RecordFormat, place: str) -> dict[str, object]:
    """The output for a line that `mix_row` has checked.

    Raises:
        DataError: When it does not have its format; nothing else is checked again.
    """
    return with_metadata(row_of_record(value, kind, place))
