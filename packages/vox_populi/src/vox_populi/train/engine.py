"""The training loop of every kernel: order, accumulation, clipping, schedule, evaluation.

It reads rows, drives an `Objective` and emits events; it opens no files and prints nothing.
The loss of an optimizer step is the sum over its windows divided by the objective's normaliser of
all its rows, so how rows are packed or accumulated cannot change the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from vox_populi.errors import RunFailedError
from vox_populi.events import Event, EventName, Sink
from vox_populi.operator_messages import checkpoint as say_checkpoint
from vox_populi.operator_messages import run as say_run
from vox_populi.train.batches import RowSource, epoch_order, step_rows
from vox_populi.train.engine_state import CheckpointPolicy, EngineState, order_digest
from vox_populi.train.evaluate import mean_loss
from vox_populi.train.gradients import clip_gradients
from vox_populi.train.memory_peak import peak_memory_bytes
from vox_populi.train.objective import Objective
from vox_populi.train.optimizers.optimizer import Optimizer
from vox_populi.train.outcome import EngineSettings, Evaluation, TrainOutcome
from vox_populi.train.ranks import ALONE, Ranks
from vox_populi.train.step_gradients import StepGradients
from vox_populi.train.time_left import TimeLeft, due_from
from vox_tensor.records import EncodedRow

STEPS_BETWEEN_COMPARISONS = 50
"""Steps after which the processes of a run compare what they have learned."""


@dataclass(slots=True)
class _Progress:
    """Counters of a run; the only state of the loop besides the optimizer's."""

    step: int = 0
    epoch: int = 0
    index_in_epoch: int = 0
    tokens: int = 0
    supervised: int = 0
    saved: int = 0
    epoch_loss: float = 0.0
    epoch_supervised: int = 0
    epoch_weight: float = 0.0
    evaluations: list[Evaluation] = field(default_factory=list)
    best: tuple[Evaluation, dict[str, Tensor]] | None = None
    stopped_early: bool = False
    interrupted: bool = False


class Rows(NamedTuple):
    """The rows of a run, and who learns from them."""

    train: RowSource
    """Rows to learn from."""
    valid: RowSource
    """Held-out rows; may be empty."""
    shared_by: Ranks = ALONE
    """The processes that share the work; each has all rows."""


class Engine:
    """One training run.

    Args:
        objective: The model, its loss and what it trains.
        optimizer: Updates the objective's parameters.
        rows: Training rows and held-out rows.
        settings: Steps, schedule, clipping, evaluation.
        sink: Receives the run's events.
        should_stop: Called between steps; a true result ends the run there.
        checkpoints: Receives the state between steps; `None` keeps nothing.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        rows: Rows,
        settings: EngineSettings,
        sink: Sink,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        checkpoints: CheckpointPolicy | None = None,
    ) -> None:
        self._objective, self._optimizer = objective, optimizer
        self._train_rows, self._valid_rows, self._ranks = rows
        self._settings = settings
        self._sink = sink
        self._should_stop = should_stop
        self._checkpoints = checkpoints
        self._gradients = StepGradients(objective, settings, rows.shared_by)
        self._parameters = tuple(objective.parameters().values())
        self._progress = _Progress()
        self._order: tuple[int, Sequence[int]] | None = None
        self._saved_step: int | None = None
        self._first_tokens = 0
        self._started = time.perf_counter()
        self._time_left = TimeLeft()

    def run(self) -> TrainOutcome:
        """Train to the last step, an early stop or a requested stop.

        Raises:
            RunFailedError: When a loss or gradient is not finite; that step updated nothing, and
                the message lists its rows.
        """
        p = self._progress
        self._started = time.perf_counter()
        self._objective.set_training(active=True)
        if p.step == 0 and not p.evaluations:
            self._evaluate()
        while self._goes_on():
            self._run_epoch_step()
            self._save_if_due()
        if p.interrupted:
            self._save()
        elif not p.stopped_early:
            self._evaluate_if_due(final=True)
            self._save_if_best()
        return self._outcome()

    def state(self) -> EngineState:
        """Copies of everything that decides the rest of the run; call it between two steps."""
        p, optimizer = self._progress, self._optimizer
        return EngineState(
            adapter=self._objective.snapshot(),
            optimizer={name: t.detach().cpu().clone() for name, t in optimizer.state.items()},
            optimizer_steps=optimizer.steps,
            streams={name: g.get_state() for name, g in self._objective.streams().items()},
            step=p.step,
            epoch=p.epoch,
            index_in_epoch=p.index_in_epoch,
            order_digest=order_digest(self._epoch_order()),
            tokens=p.tokens,
            supervised=p.supervised,
            epoch_loss=p.epoch_loss,
            epoch_supervised=p.epoch_supervised,
            epoch_weight=p.epoch_weight,
            evaluations=tuple(p.evaluations),
            best=p.best[0] if p.best else None,
            best_adapter=p.best[1] if p.best else None,
            stopped_early=p.stopped_early,
            saved_tokens=p.saved,
        )

    def restore(self, state: EngineState) -> None:
        """Continue from a state of this run instead of starting; call it before `run`.

        Raises:
            RunFailedError: When this program would order the epoch's rows differently.
            ValueError: For a state of a different model or kernel.
        """
        p, streams = self._progress, self._objective.streams()
        if streams.keys() != state.streams.keys():
            message = f"random streams {sorted(state.streams)} do not fit {sorted(streams)}"
            raise ValueError(message)
        p.step, p.epoch, p.index_in_epoch = state.step, state.epoch, state.index_in_epoch
        if order_digest(self._epoch_order()) != state.order_digest:
            raise RunFailedError(say_checkpoint.resume_order_differs(state.epoch + 1))
        self._objective.restore(state.adapter)
        self._optimizer.load(state.optimizer_steps, state.optimizer)
        try:
            for name, generator in streams.items():
                generator.set_state(state.streams[name])
        except RuntimeError as error:
            message = "a random stream has no state of a generator"
            raise ValueError(message) from error
        p.tokens, p.supervised, p.saved = state.tokens, state.supervised, state.saved_tokens
        p.epoch_loss, p.epoch_supervised = state.epoch_loss, state.epoch_supervised
        p.epoch_weight = state.epoch_weight
        p.evaluations = list(state.evaluations)
        if state.best is not None and state.best_adapter is not None:
            p.best = (state.best, dict(state.best_adapter))
        p.stopped_early = state.stopped_early
        self._saved_step = p.step
        self._first_tokens = p.tokens

    def _goes_on(self) -> bool:
        p = self._progress
        if p.step >= self._settings.total_steps or p.stopped_early:
            return False
        p.interrupted = self._should_stop()
        return not p.interrupted

    def _run_epoch_step(self) -> None:
        """Run one step and what follows it: a due evaluation, and the end of the epoch."""
        p, s = self._progress, self._settings
        if p.index_in_epoch == 0:
            p.epoch_loss, p.epoch_supervised, p.epoch_weight = 0.0, 0, 0.0
        started = time.perf_counter()
        due = step_rows(self._epoch_order(), p.index_in_epoch, s.rows_per_step)
        self._run_step([self._train_rows[i] for i in due], started)
        p.index_in_epoch += 1
        is_last = p.index_in_epoch == s.steps_per_epoch
        self._evaluate_if_due(final=is_last and s.evaluation.eval_every is None)
        if is_last:
            self._finish_epoch()

    def _finish_epoch(self) -> None:
        p = self._progress
        p.epoch += 1
        p.index_in_epoch = 0
        self._emit(
            EventName.EPOCH_COMPLETE,
            epoch=p.epoch,
            steps=p.step,
            avg_loss=p.epoch_loss / p.epoch_weight,
        )

    def _epoch_order(self) -> Sequence[int]:
        epoch, s = self._progress.epoch, self._settings
        if self._order is None or self._order[0] != epoch:
            order = epoch_order(len(self._train_rows), s.seed, epoch, s.difficulties)
            self._order = epoch, order
        return self._order[1]

    def _save_if_due(self) -> None:
        every = self._checkpoints.every if self._checkpoints else None
        if every is not None and self._progress.step % every == 0:
            self._save()
        self._save_if_best()

    def _save_if_best(self) -> None:
        """Save after an evaluation at this step that is better than all before it."""
        evaluations = [each for each in self._progress.evaluations if each.step > 0]
        if self._checkpoints is None or not self._checkpoints.keeps_best or not evaluations:
            return
        *earlier, last = evaluations
        is_best = all(last.loss < each.loss for each in earlier)
        if is_best and last.step == self._progress.step:
            self._save()

    def _save(self) -> None:
        if self._checkpoints is None or self._saved_step == self._progress.step:
            return
        started = time.perf_counter()
        self._checkpoints.save(self.state())
        self._time_left.save_took(time.perf_counter() - started)
        self._saved_step = self._progress.step

    def _run_step(self, rows: Sequence[EncodedRow], started: float) -> None:
        p, s = self._progress, self._settings
        rate = s.schedule.at(p.step)
        count = sum(row.n_supervised for row in rows)
        weight = self._objective.normaliser(rows)
        loss = self._gradients.compute(rows, p.step, weight)
        norm = float(clip_gradients(self._parameters, s.optimization.max_grad_norm))
        if not math.isfinite(norm):
            raise RunFailedError(say_run.gradient_not_finite(p.step, [row.line for row in rows]))
        self._optimizer.step(rate)
        self._objective.key_noise(p.step + 1, 0)
        if (p.step + 1) % STEPS_BETWEEN_COMPARISONS == 0 or p.step + 1 == s.total_steps:
            self._ranks.require_same(self._parameters, p.step + 1)
        tokens = sum(len(row) for row in rows)
        p.step += 1
        p.tokens += tokens
        p.supervised += count
        saved = self._gradients.saved_tokens
        p.saved += saved
        p.epoch_loss += loss * weight
        p.epoch_weight += weight
        p.epoch_supervised += count
        self._report_step(rows, loss, rate, norm, time.perf_counter() - started, saved)

    def _evaluate_if_due(self, *, final: bool) -> None:
        p, every = self._progress, self._settings.evaluation.eval_every
        due = final or (every is not None and p.step % every == 0)
        if due and (not p.evaluations or p.evaluations[-1].step != p.step):
            self._evaluate()

    def _evaluate(self) -> None:
        if len(self._valid_rows) == 0:
            return
        p, patience = self._progress, self._settings.evaluation.early_stopping_patience
        started = time.perf_counter()
        window_tokens = self._settings.window_tokens
        loss = mean_loss(self._objective, self._valid_rows, window_tokens, self._ranks)
        self._time_left.evaluation_took(time.perf_counter() - started)
        if not math.isfinite(loss):
            raise RunFailedError(say_run.held_out_loss_not_finite(p.step))
        p.evaluations.append(Evaluation(p.step, loss))
        self._emit(EventName.EVALUATION, epoch=p.epoch, step=p.step, val_loss=loss)
        if patience is None:
            return
        if p.best is None or loss < p.best[0].loss:
            p.best = (p.evaluations[-1], self._objective.snapshot())
        elif self._evaluations_since(p.best[0].step) >= patience:
            p.stopped_early = True
            self._emit(EventName.EARLY_STOP, step=p.step, best_step=p.best[0].step)

    def _evaluations_since(self, step: int) -> int:
        return sum(e.step > step for e in self._progress.evaluations)

    def _report_step(
        self,
        rows: Sequence[EncodedRow],
        loss: float,
        rate: float,
        norm: float,
        seconds: float,
        saved: int,
    ) -> None:
        p, s = self._progress, self._settings
        lengths = [len(row) for row in rows]
        tokens, count = sum(lengths), sum(row.n_supervised for row in rows)
        elapsed = time.perf_counter() - self._started
        self._time_left.step_took(seconds)
        self._emit(
            EventName.STEP,
            epoch=p.epoch,
            step=p.step,
            loss=loss,
            lr=rate,
            learning_rate=rate,
            grad_norm=norm,
            valid_tokens=count,
            theoretical_tokens=tokens,
            rows=len(lengths),
            longest_row_tokens=max(lengths),
            **({"saved_tokens": saved} if saved else {}),
            supervised_tokens_total=p.supervised,
            tokens_total=p.tokens,
            supervised_ratio_pct=100.0 * count / tokens,
            tokens_per_sec=tokens / seconds,
            tokens_per_sec_is_proxy=False,
            mean_tokens_per_sec=(p.tokens - self._first_tokens) / elapsed,
            peak_memory_bytes=peak_memory_bytes(self._objective.device) or None,
            planned_steps_total=s.total_steps,
            planned_steps_per_epoch=s.steps_per_epoch,
            progress_fraction=p.step / s.total_steps,
            eta_seconds_remaining=self._seconds_left(),
        )

    def _seconds_left(self) -> float | None:
        p, s = self._progress, self._settings
        evaluated = s.evaluation.eval_every or s.steps_per_epoch if len(self._valid_rows) else None
        saved = self._checkpoints.every if self._checkpoints else None
        return self._time_left.seconds(
            steps=s.total_steps - p.step,
            evaluations=due_from(p.step, s.total_steps, evaluated),
            saves=due_from(p.step, s.total_steps, saved),
        )

    def _emit(self, name: EventName, **payload: object) -> None:
        self._sink.emit(Event(name, payload))

    def _outcome(self) -> TrainOutcome:
        p = self._progress
        if p.best is not None:
            self._objective.restore(p.best[1])
        return TrainOutcome(
            adapter=self._objective.snapshot(),
            steps=p.step,
            epochs_completed=p.epoch,
            tokens=p.tokens,
            supervised_tokens=p.supervised,
            train_loss=p.epoch_loss / p.epoch_weight if p.epoch_weight else math.nan,
            evaluations=tuple(p.evaluations),
            best_step=p.best[0].step if p.best is not None else None,
            stopped_early=p.stopped_early,
            interrupted=p.interrupted,
            saved_tokens=p.saved,
            tokens_before=self._first_tokens,
            seconds=time.perf_counter() - self._started,
            peak_memory_bytes=peak_memory_bytes(self._objective.device),
        )
