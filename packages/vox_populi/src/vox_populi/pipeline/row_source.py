"""Where a row came from, in a word that many rows share. No torch."""

from __future__ import annotations

from vox_tensor.records import TrainingRecord

UNKNOWN_SOURCE = "unknown"


def source_label(record: TrainingRecord) -> str:
    """The row's source without the place inside it, else its category.

    `json.decoder:JSONDecoder.decode` and `notes.md:12` come from `json.decoder` and `notes.md`;
    an address such as `https://host/page` stays whole.
    """
    source = record.source or record.category or UNKNOWN_SOURCE
    head, _, place = source.rpartition(":")
    return head if head and not place.startswith("//") else source
