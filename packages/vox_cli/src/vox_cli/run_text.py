"""What a training run did, or would do, as readable text."""

from __future__ import annotations

from functools import partial

from vox_cli.report_text import aligned, bytes_text
from vox_populi.contract.choices import GraphId
from vox_populi.operator_messages import plan as say
from vox_populi.pipeline.progress_lines import clock_text
from vox_populi.pipeline.status import StatusReport
from vox_populi.pipeline.train import TrainReport
from vox_populi.pipeline.trial import StepTrialReport


def train_text(report: TrainReport) -> str:
    """A report of what a run did and where its files are."""
    early = " (stopped early)" if report.stopped_early else ""
    return aligned(
        [
            ("run", report.run),
            ("steps", f"{report.steps} of {report.planned_steps}{early}"),
            ("supervised tokens", f"{report.supervised_tokens:,}"),
            ("shared tokens", _saved(report)),
            ("graph", _graph(report.graph_id)),
            ("train loss", _loss(report.train_loss)),
            ("held-out loss", _change(report.heldout_loss_before, report.heldout_loss_after)),
            ("time", _session_time(report)),
            ("peak memory", bytes_text(report.peak_memory_bytes)),
            ("device", f"{report.device}, {report.compute_dtype}"),
            *((kind.replace("_", " "), path) for kind, path in report.artifacts.items()),
        ]
    )


def _saved(report: TrainReport) -> str | None:
    if not report.saved_tokens:
        return None
    return f"{report.saved_tokens:,} of {report.tokens:,} were computed with another row"


def trial_text(report: StepTrialReport) -> str:
    """Measurements of one step, compared with the plan's estimates."""
    estimate = report.planned.plan.memory.total
    return aligned(
        [
            ("one step", f"{report.step_seconds:.2f} s, loss {report.loss:.4f}"),
            ("one evaluation", _trial_evaluation(report)),
            ("one save", f"{report.save_seconds:.2f} s, {bytes_text(report.adapter_bytes)}"),
            ("peak memory", bytes_text(report.measured_peak_bytes)),
            ("estimated", bytes_text(estimate)),
        ]
    )


def status_text(report: StatusReport) -> str:
    """A report of a run's progress."""
    planned = "" if report.planned_steps is None else f" of {report.planned_steps}"
    left = report.eta_seconds
    return aligned(
        [
            ("run", report.run),
            ("state", report.state),
            ("held by", report.holder),
            ("failure", report.failure),
            ("step", f"{report.step}{planned}"),
            ("epoch", report.epoch),
            ("graph", _graph(report.graph_id)),
            ("train loss", _loss(report.train_loss)),
            ("held-out loss", _change(report.heldout_loss_before, report.heldout_loss)),
            ("tokens/s", _rates(report)),
            ("time left", None if left is None else clock_text(left)),
            ("best held-out", _best(report)),
            (
                "checkpoints",
                ", ".join(map(partial(_checkpoint, report), report.checkpoints)) or None,
            ),
            *((kind.replace("_", " "), path) for kind, path in report.artifacts.items()),
        ]
    )


def _trial_evaluation(report: StepTrialReport) -> str | None:
    if report.evaluation_seconds is None or report.heldout_loss is None:
        return None
    return f"{report.evaluation_seconds:.2f} s, held-out loss {report.heldout_loss:.4f}"


def _session_time(report: TrainReport) -> str | None:
    """Time of the session; `None` for a run that was already complete."""
    if not report.seconds:
        return None
    since = "" if report.resumed_from is None else f" since step {report.resumed_from}"
    return f"{report.seconds:.1f} s{since}, {report.tokens_per_second:,.0f} tokens/s"


def _rates(report: StatusReport) -> str | None:
    """The mean rate of a run's summary, and the rate of the last step."""
    mean, last = report.tokens_per_second, report.last_step_tokens_per_second
    now = None if last is None else f"last step {last:,.0f}"
    if mean is None:
        return now
    return f"{mean:,.0f}" if now is None else f"{mean:,.0f} ({now})"


def _best(report: StatusReport) -> str | None:
    if report.best_step is None or report.best_heldout_loss is None:
        return None
    return f"{report.best_heldout_loss:.4f} after step {report.best_step}"


def _checkpoint(report: StatusReport, name: str) -> str:
    """A checkpoint with its held-out loss."""
    loss = report.heldout_by_checkpoint.get(name)
    parts = [] if loss is None else [f"{loss:.4f}"]
    parts += ["best"] if name == report.best_checkpoint else []
    return f"{name} ({', '.join(parts)})" if parts else name


def _graph(graph_id: str | None) -> str | None:
    """The graph, if its losses are not language-model losses."""
    return None if graph_id in (None, GraphId.FULL) else say.proxy_losses(graph_id)


def _loss(loss: float | None) -> str | None:
    return None if loss is None else f"{loss:.4f}"


def _change(before: float | None, after: float | None) -> str | None:
    """Two losses and their relative change."""
    if after is None:
        return None
    if before is None or before == 0:
        return f"{after:.4f}"
    return f"{before:.4f} -> {after:.4f} ({100 * (after / before - 1):+.1f} %)"
