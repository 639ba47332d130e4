"""What is known of a model family: whose code computes it, and what tests have proven of that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vox_populi.hf.graph_source import GraphSource


class Proven(StrEnum):
    """What a test compares, for each family that has it."""

    LOGITS = "logits"
    """Logits of packed rows are transformers' of each row alone."""
    GRADIENTS = "gradients"
    """Loss and gradient of every adapter are PEFT's."""
    LORA = "lora"
    """A LoRA run learns."""
    QLORA = "qlora"
    """A QLoRA run learns."""
    MERGE = "merge"
    """The merged model loads in transformers and computes base plus adapter."""
    PEFT = "peft"
    """PEFT loads the exported adapter strictly and computes the same."""
    GENERATION = "generation"
    """Greedy text from the cache is transformers'."""


class ProvenBy(StrEnum):
    """Who compares."""

    TESTS = "tests"
    """Tests of this program, each time that they run."""
    TRIAL = "a trial"
    """`bench/transformers_families.py`, once."""


class RowsTogether(StrEnum):
    """How the rows of a window are computed."""

    PACKED = "packed"
    """Rows share one pass and do not see each other."""
    ALONE = "one at a time"
    """They would see each other otherwise, or the class refuses packed rows."""
    REFUSED = "refused"
    """The class computes something that this program does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenFamily:
    """One family through one source of graphs."""

    model_type: str
    """The value of `model_type` in a `config.json`."""
    class_name: str
    """Its causal language model in transformers."""
    source: GraphSource = GraphSource.TRANSFORMERS
    rows: RowsTogether = RowsTogether.PACKED
    leak: float | None = None
    """Largest relative difference that was measured where rows are not packed; `None` if the
    class refuses packed rows, or if they are packed."""
    why: str = ""
    """Why rows are not packed, in a few words."""
    proven: tuple[Proven, ...] = tuple(Proven)
    by: ProvenBy = ProvenBy.TESTS
    packed_forms: tuple[str, ...] = ()
    """Forms of quantised folders of this type that are read, besides nf4."""

    def as_json(self) -> dict[str, object]:
        """One entry of `vox mens models --json`."""
        return {
            "model_type": self.model_type,
            "class": self.class_name,
            "graph": self.source.value,
            "rows": self.rows.value,
            "leak": self.leak,
            "why": self.why,
            "proven": [each.value for each in self.proven],
            "by": self.by.value,
            "packed_forms": list(self.packed_forms),
        }
