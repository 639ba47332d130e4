"""What was found of a base as readable text, in one screen."""

from __future__ import annotations

from collections.abc import Mapping

from vox_cli.report_text import aligned, bytes_text
from vox_populi.hf.proven_family import RowsTogether
from vox_populi.operator_messages import model_check as say
from vox_populi.pipeline.model_check import ModelCheckReport
from vox_populi.plan.memory_estimate import count_parameters


def model_check_text(report: ModelCheckReport) -> str:
    """Whose code computes the base, what is adapted, and what it takes."""
    config, memory = report.config, report.memory
    known = report.known
    return aligned(
        [
            ("model", report.name),
            (
                "family",
                f"{config.model_type} ({report.class_name}), {config.n_layers} layers,"
                f" {count_parameters(config):,} parameters",
            ),
            ("layers", _counts(report.layer_kinds) if len(report.layer_kinds) > 1 else None),
            ("graph", _graph(report)),
            ("rows", _rows(report)),
            ("adapters", f"{_counts(report.roles)}: {report.adapted_share:.1%} of all parameters"),
            ("weights", say.WEIGHTS_HERE if report.has_weights else say.WEIGHTS_NOT_HERE),
            ("tokenizer", report.tokenizer or None),
            ("template", report.template or None),
            ("LoRA takes", f"{bytes_text(memory.lora)} ({_kind(report)})"),
            ("QLoRA takes", bytes_text(memory.qlora)),
            (f"free on {memory.device}", bytes_text(memory.available)),
            (
                "proven",
                say.NOT_LISTED if known is None else f"{', '.join(known.proven)} (by {known.by})",
            ),
            ("can be trained", "yes" if report.ok else "no"),
            *(("note", note) for note in report.notes),
        ]
    )


def _graph(report: ModelCheckReport) -> str:
    proof = report.proof
    if proof is None:
        return say.NATIVE_GRAPH
    return f"transformers {proof.version}, {proof.class_name}"


def _rows(report: ModelCheckReport) -> str:
    proof, rows = report.proof, report.rows
    if proof is None:
        return rows.value
    if rows is RowsTogether.REFUSED:
        return f"{rows} (logits of a row differ by {proof.alone:.1g})"
    if proof.refused:
        return f"{rows} ({proof.refused})"
    if proof.leak is not None:
        return f"{rows} (packed they would leak: {proof.leak:.1g})"
    return f"{rows} (from rows alone: logits {proof.packed:.1e}, gradients {proof.gradients:.1e})"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} x {count}" for name, count in counts.items())


def _kind(report: ModelCheckReport) -> str:
    memory = report.memory
    return f"a row of {memory.tokens} tokens, rank {memory.rank}, {memory.dtype}"
