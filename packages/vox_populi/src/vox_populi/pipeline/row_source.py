"""The source of a row, as a label shared by many rows. No torch."""

from __future__ import annotations

from vox_tensor.records import TrainingRecord

UNKNOWN_SOURCE = "unknown"


def source_label(record: TrainingRecord) -> str:
    """The row's source without the position in it, otherwise its category.

    `json.decoder:JSONDecoder.decode` and `notes.md:12` come from `json.decoder` and `notes.md`;
    an address such as `https://host/page` stays whole.
    """
    source = record.source or record.category or UNKNOWN_SOURCE
    head, _, place = source.rpartition(":")
    return head if head and not place.startswith("//") else source
