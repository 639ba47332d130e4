"""Checking that a merged model does the same as base and adapter on training rows. Needs torch.

Logits can differ only slightly although everything is lost: a run of a few steps moves most weights
by less than half a unit of bfloat16. So a merge is measured where it counts, at the learned
positions of rows formatted as in training: by the loss, and by the token that greedy decoding
picks. Shape letters: P learned positions, C positions of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vox_populi.hf.keymap import HEAD
from vox_populi.hf.model_config import ModelConfig
from vox_populi.merge.receipt import TIE_TOLERANCE, RowCheck, RowTolerance
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.logit_factors import soft_capped
from vox_populi.plan.memory_estimate import count_parameters
from vox_tensor.collate import collate_window
from vox_tensor.lora import project_shared, projection_of
from vox_tensor.records import EncodedRow

_PRODUCTS = 250_000_000_000
"""Approximate limit on multiplications for one pass over the rows."""
_LEAST_TOKENS, _MOST_TOKENS = 256, 1024
_CHUNK_LOGITS = 1 << 23
"""Number of scores in memory at a time: 32 MiB in float32."""


@dataclass(frozen=True, slots=True)
class RowScores:
    """A model's results at the learned positions of some rows."""

    loss: float
    """Mean cross entropy."""
    top_P2: Tensor
    """Its two most likely tokens."""
    logits_P2: Tensor
    """Their scores."""
    largest_logit: float
    """Largest absolute score of a most likely token."""


def tokens_to_check(config: ModelConfig) -> int:
    """How many tokens of check rows a merge runs: fewer through a larger model."""
    affordable = _PRODUCTS // max(1, count_parameters(config))
    return max(_LEAST_TOKENS, min(_MOST_TOKENS, affordable))


@torch.no_grad()
def score_rows(build: Callable[[], CausalGraph], rows: Sequence[EncodedRow]) -> RowScores:
    """Run rows through a model in one window, each seeing itself alone.

    Args:
        build: Builds the model; called here, so that a worker thread builds what it uses.
        rows: Rows with at least one learned token each.
    """
    model, batch = build(), collate_window(rows)
    hidden_PD = model.hidden(batch, batch.supervised_P)
    head = projection_of(model.layer(HEAD), hidden_PD)
    step = max(1, _CHUNK_LOGITS // model.config.vocab_size)
    total, tops, scores = 0.0, [], []
    for hidden_CD, targets_C in zip(
        hidden_PD.split(step), batch.targets_P.split(step), strict=True
    ):
        (uncapped_CV,) = project_shared(hidden_CD, (head,))
        logits_CV = soft_capped(uncapped_CV, model.config.logit_cap)
        best_C2 = logits_CV.topk(2, dim=-1)
        tops.append(best_C2.indices)
        scores.append(best_C2.values)
        losses_C = torch.nn.functional.cross_entropy(logits_CV, targets_C, reduction="none")
        total += float(losses_C.double().sum())
    logits_P2 = torch.cat(scores)
    return RowScores(
        loss=total / batch.n_supervised,
        top_P2=torch.cat(tops),
        logits_P2=logits_P2,
        largest_logit=float(logits_P2.abs().max()),
    )


def row_check(
    origin: str,
    rows: Sequence[EncodedRow],
    sides: tuple[RowScores, RowScores, RowScores],
    tolerance: RowTolerance,
) -> RowCheck:
    """Compare the three models.

    Args:
        origin: Origin of the rows, `held_out` or `train`.
        rows: The rows that were run.
        sides: Scores of the base, of base plus adapter, and of the merged model.
        tolerance: Thresholds for the verdict.
    """
    base, adapter, merged = sides
    is_same_P = _same_choices(adapter, merged)
    is_changed_P = ~_same_choices(adapter, base)
    return RowCheck(
        origin=origin,
        rows=len(rows),
        tokens=sum(map(len, rows)),
        learned=is_same_P.shape[0],
        changed=int(is_changed_P.sum()),
        same=int(is_same_P.sum()),
        kept=int((is_same_P & is_changed_P).sum()),
        base_loss=base.loss,
        adapter_loss=adapter.loss,
        merged_loss=merged.loss,
        tolerance=tolerance,
    )


def _same_choices(adapter: RowScores, other: RowScores) -> Tensor:
    """Positions `[P]` at which a model picks the adapter's token.

    If the adapter's two best tokens are equal up to float32 rounding, either counts.
    """
    chosen_P = other.top_P2[:, 0]
    margin_P = adapter.logits_P2[:, 0] - adapter.logits_P2[:, 1]
    is_tie_P = margin_P <= TIE_TOLERANCE.bound(adapter.largest_logit)
    is_first_P = adapter.top_P2[:, 0] == chosen_P
    return is_first_P | ((adapter.top_P2[:, 1] == chosen_P) & is_tie_P)
