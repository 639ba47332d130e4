"""Whether tokens that rows begin with alike are computed once. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vox_populi.contract.choices import PrefixSharing
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.rope_config import RopeKind
from vox_populi.operator_messages import prefixes as say
from vox_populi.plan.graph_choice import is_proxy
from vox_tensor.packing import distinct_tokens
from vox_tensor.prefix_forest import WHAT_PAYS, common_length, pack_shared

SAMPLED_ROWS = 256
"""Most rows whose beginnings are compared for a plan."""
SAMPLED_TOKENS = 2**17
"""Most tokens of these rows, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixChoice:
    """What happens to tokens that rows of a step begin with alike."""

    is_shared: bool
    reason: str | None = None
    """Why they are computed for each row, if nobody asked for that."""


UNSHARED = PrefixChoice(is_shared=False)
"""Every row is computed on its own, and there is nothing to say about that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixSample:
    """What rows begin with alike, by some steps of rows from all over the data."""

    rows: int
    tokens: int
    distinct: int
    """Tokens that are computed if rows of a step share what they begin with."""
    common: int
    """Tokens that all of them begin with."""

    @property
    def saved_part(self) -> float:
        """The part of the tokens that need not be computed, 0 to 1."""
        return 1 - self.distinct / self.tokens

    @property
    def pays(self) -> bool:
        """Whether anything is saved."""
        return self.distinct < self.tokens

    def counts(self) -> dict[str, object]:
        """The counts as JSON values."""
        return {
            "sampled_rows": self.rows,
            "sampled_tokens": self.tokens,
            "distinct_tokens": self.distinct,
        }


def choose_prefixes(
    contract: FinetuneContract, config: ModelConfig, device: str, longest: int
) -> PrefixChoice:
    """Share where the result is that of the rows one by one.

    Args:
        contract: The request.
        config: The base model.
        device: torch's name.
        longest: Most tokens of a row.
    """
    if is_proxy(contract):
        # A proxy computes learned positions from one token each: there is nothing to share.
        return UNSHARED
    if config.modules is not None:
        return PrefixChoice(is_shared=False, reason=say.TRANSFORMERS)
    if contract.batching.share_prefixes is PrefixSharing.NEVER:
        return PrefixChoice(is_shared=False, reason=say.NOT_ASKED_FOR)
    if device != "cpu":
        return PrefixChoice(is_shared=False, reason=say.only_on_the_cpu(device))
    if contract.lora.dropout:
        return PrefixChoice(is_shared=False, reason=say.DROPOUT)
    rope = config.rope
    if rope is not None and rope.kind is RopeKind.LONGROPE:
        original = rope.original_max_positions
        assert original is not None, "the config reader fills this in"
        if longest > original:
            return PrefixChoice(is_shared=False, reason=say.longrope(original))
    return PrefixChoice(is_shared=True)


def common_tokens(
    choice: PrefixChoice, sample: PrefixSample | None, rows_per_step: int, longest: int
) -> int:
    """Tokens that every row of a step begins with and that are computed once, by a sample.

    Args:
        choice: Whether anything is shared.
        sample: What rows begin with alike, if that is known.
        rows_per_step: Rows of an optimizer step.
        longest: Most tokens of a row.
    """
    if sample is None or not choice.is_shared:
        return 0
    n_below = rows_per_step * (longest - sample.common)
    return sample.common if WHAT_PAYS.keeps(sample.common, rows_per_step, n_below) else 0


def sample_prefixes(
    lengths: Sequence[int], ids_of: Callable[[int], tuple[int, ...]], rows_per_step: int
) -> PrefixSample:
    """Compare the beginnings of a few steps of rows, each taken from all over the data.

    Steps of a run are drawn at random; these are spread evenly, so that a plan is a function of the
    data.

    Args:
        lengths: Tokens of each row; at least one.
        ids_of: The tokens of a row by its index.
        rows_per_step: Rows of an optimizer step.
    """
    n_rows = len(lengths)
    in_budget = max(2, SAMPLED_TOKENS * n_rows // sum(lengths))
    per_step = min(rows_per_step, SAMPLED_ROWS, n_rows, in_budget)
    n_steps = max(1, min(SAMPLED_ROWS, n_rows) // per_step)
    texts: list[tuple[int, ...]] = []
    n_tokens = n_distinct = 0
    for step in range(n_steps):
        chosen = [
            (place * n_steps + step) * n_rows // (per_step * n_steps) for place in range(per_step)
        ]
        size = sum(lengths[i] for i in chosen)
        if texts and n_tokens + size > SAMPLED_TOKENS:
            break
        found = [ids_of(i) for i in chosen]
        n_tokens += size
        n_distinct += distinct_tokens(pack_shared(found, size))
        texts.extend(found)
    return PrefixSample(
        rows=len(texts),
        tokens=n_tokens,
        distinct=n_distinct,
        common=common_length(min(texts), max(texts)),
    )
