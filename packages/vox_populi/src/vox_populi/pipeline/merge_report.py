"""What a merge answers: where it is and its receipt. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vox_populi.merge.receipt import RECEIPT_FILE, MergeReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReport:
    """A published merge."""

    output: Path
    receipt: MergeReceipt
    notes: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, object]:
        """The receipt, where it lies, and how long it took."""
        return {
            "output": str(self.output),
            "receipt": str(self.output / RECEIPT_FILE),
            "seconds": round(self.seconds, 3),
            **self.receipt.as_json(),
            "notes": list(self.notes),
        }
