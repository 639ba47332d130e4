"""A merge's receipt as readable text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vox_cli.report_text import aligned, bytes_text
from vox_cli.text_width import cells, padded
from vox_populi.merge.receipt import (
    RECEIPT_FILE,
    LogitCheck,
    MergeReceipt,
    QloraReceipt,
    RowCheck,
    TensorChange,
    relative_error,
)
from vox_populi.pipeline.merge import MergeReport
from vox_tensor.visible_text import one_line

MAX_ROWS = 12
"""Largest number of rows in the table; the receipt file has all."""


def merge_text(report: MergeReport) -> str:
    """A report of what was changed, checked and written."""
    receipt = report.receipt
    head = aligned(
        [
            ("merged", report.output),
            ("receipt", report.output / RECEIPT_FILE),
            ("format", _format(receipt)),
            ("tensors", f"{receipt.n_changed} of {receipt.n_tensors} changed"),
            ("unchanged", _unchanged(receipt.changes)),
            ("tied head", "yes" if receipt.is_head_tied else "no"),
            ("update", _update(receipt)),
            ("logits", _logits(receipt.logits)),
            *rows_text(receipt.rows),
            ("from training", _from_training(receipt.training_rows)),
            ("rows", None if receipt.rows or receipt.logits is None else _NO_ROWS),
            *_distances(receipt.qlora),
            ("time", f"{report.seconds:.1f} s"),
        ]
    )
    return "\n".join([head, *_table(receipt.changes)])


def _format(receipt: MergeReceipt) -> str:
    size = bytes_text(receipt.total_bytes)
    return f"{receipt.output_format}, {receipt.number_type.written}, {size}"


def _update(receipt: MergeReceipt) -> str:
    error = 100 * relative_error(receipt.changes)
    share = 100 * receipt.changed_share
    return f"{share:.1f} % of the numbers changed, {error:.2g} % of the update lost in rounding"


_NO_ROWS = "not compared: the adapter's run left no check_rows.json"


def rows_text(rows: RowCheck | None) -> Iterator[tuple[str, str]]:
    """Results of base, adapter and merged model on rows formatted as in training."""
    if rows is None:
        return
    kind = rows.origin.replace("_", "-")
    losses = f"{rows.base_loss:.4f} base, {rows.adapter_loss:.4f} adapter"
    yield f"{kind} loss", f"{losses}, {rows.merged_loss:.4f} merged"
    choices = f"same token at {rows.same} of {rows.learned} learned positions"
    yield "choices", f"{choices}, at {rows.kept} of {rows.changed} that training changed"


def _from_training(rows: RowCheck | None) -> str | None:
    """How much of the gain on NF4 weights a QLoRA adapter keeps on the original ones."""
    if rows is None:
        return None
    gain = "" if rows.gain_kept is None else f", {100 * rows.gain_kept:.0f} % of the gain kept"
    choices = f"same token at {rows.same} of {rows.learned} learned positions"
    return f"loss {rows.adapter_loss:.4f} there{gain}; {choices}"


def _logits(logits: LogitCheck | None) -> str:
    if logits is None:
        return "not compared: a part of a model computes nothing"
    return (
        f"adapter against merged differ by at most {logits.max_difference:.2e},"
        f" allowed {logits.allowed:.2e}"
    )


def _distances(qlora: QloraReceipt | None) -> Iterator[tuple[str, str]]:
    """The differences of both merges from what was trained; the written one is marked."""
    if qlora is None:
        return
    for name, distance in qlora.distances.items():
        mark = " (written)" if name == qlora.onto else ""
        yield (
            f"onto {name}",
            f"{distance.max_difference:.2e} at most from what was trained,"
            f" same likeliest token at {100 * distance.same_top_token:.0f} %{mark}",
        )


def _unchanged(changes: Sequence[TensorChange]) -> str | None:
    lost = sum(not change.is_changed for change in changes)
    return f"{lost} updates vanish in rounding" if lost else None


def _table(changes: Sequence[TensorChange]) -> Iterator[str]:
    shown = changes[:MAX_ROWS]
    names = [one_line(change.name) for change in shown]
    width = max(map(cells, names))
    yield f"{'tensor':<{width}}  {'max |delta|':>11}  {'mean |delta|':>12}  {'changed':>8}"
    for name, change in zip(names, shown, strict=True):
        share = 100 * change.changed_values / change.values
        yield (
            f"{padded(name, width)}  {change.max_delta:>11.2e}  {change.mean_delta:>12.2e}"
            f"  {share:>6.1f} %"
        )
    if len(changes) > MAX_ROWS:
        yield f"and {len(changes) - MAX_ROWS} more in {RECEIPT_FILE}"
