"""Checking that the output of a merge does what was trained, by running it. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import cached_property

from vox_populi.hf.inventory import ModelInventory
from vox_populi.merge.full_graph import MergedGraph
from vox_populi.merge.inputs import MergeInputs
from vox_populi.merge.logit_check import adapted_model, check_logits
from vox_populi.merge.receipt import ROW_TOLERANCES, LogitCheck, QloraReceipt, RowCheck
from vox_populi.merge.row_check import RowScores, row_check, score_rows, tokens_to_check
from vox_populi.merge.streamed_model import stored_model, trained_model
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.operator_messages import merge as say
from vox_tensor.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The results of running the output."""

    logits: LogitCheck
    rows: RowCheck | None
    """Comparison with the unmerged adapter on the weights it was merged into."""
    training_rows: RowCheck | None
    """Comparison with the adapter on the weights it was trained on, if those differ."""
    qlora: QloraReceipt | None

    def problem(self, where: str, dtype: str) -> Problem | None:
        """Why nothing may be published, if so.

        Args:
            where: The adapter's file.
            dtype: Number type of the output, as in a config.
        """
        if not self.logits.is_within:
            difference, allowed = f"{self.logits.max_difference:.3g}", f"{self.logits.allowed:.3g}"
            return say.merge_differs_from_adapter(difference, allowed).at(where)
        for rows in (self.rows, self.training_rows):
            if rows is not None and not rows.is_within:
                return say.merge_loses_training(dtype, row_figures(rows)).at(where)
        return None


class MergeProof:
    """The reference results of a merge; base and adapter are run once for all outputs.

    Args:
        inputs: The inputs of the merge.
        workers: Threads, each with one thread for products.
    """

    def __init__(self, inputs: MergeInputs, workers: Executor) -> None:
        self._inputs, self._workers = inputs, workers
        rows = inputs.check_rows
        limit = tokens_to_check(inputs.inventory.config)
        self._rows = () if rows is None else rows.limited(limit)

    def judge(self, merged: ModelInventory, other: MergedGraph | None) -> Verdict:
        """Read an output like any reader, and compare what it computes.

        Args:
            merged: The files.
            other: For a QLoRA adapter: the merge into the other weights, in the same number type.

        Raises:
            ModelError: When a file cannot be read any more.
        """
        logits, qlora = check_logits(self._inputs, merged, other, self._workers)
        if not self._rows:
            return Verdict(logits=logits, rows=None, training_rows=None, qlora=qlora)
        scores = self._scores(lambda: stored_model(merged)).result()
        is_elsewhere = self._inputs.is_onto_other_weights
        return Verdict(
            logits=logits,
            rows=self._compared(self._expected, scores, "merged"),
            training_rows=self._compared(self._training, scores, "other") if is_elsewhere else None,
            qlora=qlora,
        )

    def score(self, build: Callable[[], CausalGraph]) -> RowCheck | None:
        """Compare any model with the adapter on the check rows; `None` if there are none."""
        if not self._rows:
            return None
        return self._compared(self._expected, self._scores(build).result(), "merged")

    def _compared(
        self, expected: tuple[Future[RowScores], Future[RowScores]], scores: RowScores, row: str
    ) -> RowCheck:
        rows = self._inputs.check_rows
        assert rows is not None, "something was scored"
        base, adapter = (side.result() for side in expected)
        sides = (base, adapter, scores)
        return row_check(rows.origin.value, self._rows, sides, ROW_TOLERANCES[row])

    @cached_property
    def _expected(self) -> tuple[Future[RowScores], Future[RowScores]]:
        """Scores of the base that is merged into, and of the unmerged adapter on it."""
        side = self._inputs.qlora
        if side is None or self._inputs.is_onto_other_weights:
            return self._without_and_with(lambda: stored_model(self._inputs.inventory))
        return self._training

    @cached_property
    def _training(self) -> tuple[Future[RowScores], Future[RowScores]]:
        """Scores of the rounded base that a QLoRA adapter was trained on, and of both together."""
        side = self._inputs.qlora
        assert side is not None, "a LoRA adapter is trained on the base as it is stored"
        return self._without_and_with(lambda: trained_model(side.trained))

    def _without_and_with(
        self, base: Callable[[], CausalGraph]
    ) -> tuple[Future[RowScores], Future[RowScores]]:
        adapter, modules = self._inputs.adapter, self._inputs.modules
        return (
            self._scores(base),
            self._scores(lambda: adapted_model(base(), adapter, modules)),
        )

    def _scores(self, build: Callable[[], CausalGraph]) -> Future[RowScores]:
        return self._workers.submit(score_rows, build, self._rows)


def row_figures(rows: RowCheck) -> say.RowFigures:
    """The figures for a refusal."""
    return say.RowFigures(
        learned=rows.learned,
        agreement=rows.agreement,
        changed=rows.changed,
        kept_changes=rows.kept_changes,
        gain_kept=rows.gain_kept,
        losses=(rows.base_loss, rows.adapter_loss, rows.merged_loss),
        least=(
            rows.tolerance.agreement,
            rows.tolerance.kept_changes,
            1 - rows.tolerance.lost_gain,
        ),
    )
