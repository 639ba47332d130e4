"""Listing the model families that tests have tried: `vox mens models`. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from vox_populi.files.json_numbers import JsonObject
from vox_populi.hf.proven_families import TRANSFORMERS_VERSION, proven_families
from vox_populi.hf.proven_family import ProvenFamily


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsReport:
    """The families, native ones first."""

    families: tuple[ProvenFamily, ...]

    def as_json(self) -> JsonObject:
        """The fields of `vox mens models --json`."""
        return {
            "transformers": TRANSFORMERS_VERSION,
            "families": [each.as_json() for each in self.families],
        }


def list_models() -> ModelsReport:
    """The families, and what was proven of each."""
    return ModelsReport(families=proven_families())
