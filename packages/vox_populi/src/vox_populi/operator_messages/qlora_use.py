"""Adapters of QLoRA runs where a model is run or another adapter starts (MENS-A540 to A549)."""

from __future__ import annotations

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def proxy_is_no_language_model(path: str, graph: str) -> Problem:
    """A proxy adapter given to a command that runs a transformer."""
    return Problem(
        code="MENS-A540",
        what=f"it was trained in the graph {clipped(graph)}, which has no attention and is no "
        "language model: it cannot be run or scored as one.",
        fix="Merge it into its base with vox schola merge-qlora and run the merged folder, or "
        "train with --qlora-graph full.",
        where=path,
    )


def proxy_has_no_consumer(path: str, graph: str) -> Problem:
    """A proxy adapter that another program would run inside the whole transformer."""
    return Problem(
        code="MENS-A541",
        what=f"it was trained in the graph {clipped(graph)}; another program would run it inside "
        "the whole transformer, where nobody trained it.",
        fix="Merge it into its base with vox schola merge-qlora, or train with --qlora-graph full.",
        where=path,
    )


def adapter_of_the_source_system(path: str) -> Problem:
    """Its sidecar names no base, tokenizer or template, which running it needs."""
    return Problem(
        code="MENS-A542",
        what="its sidecar is the source system's, which does not say which base, tokenizer and "
        "template it was trained with.",
        fix="Merge it into its base with vox schola merge-qlora and use the merged folder.",
        where=path,
    )


def note_starts_on_nf4(path: str) -> str:
    """`--init-from` with an adapter whose base was dense."""
    return (
        f"the adapter of {path} was trained on the dense base; this run goes on from its values "
        "on the base in NF4, where the loss at the start is another one."
    )


def note_starts_on_dense(path: str) -> str:
    """`--init-from` with an adapter whose base was in NF4."""
    return (
        f"the adapter of {path} was trained on the base in NF4; this run goes on from its values "
        "on the dense base, where the loss at the start is another one."
    )


def note_exported_from_nf4() -> str:
    """A consumer that loads the base in 16 bits runs what training did not see."""
    return (
        "the adapter was trained on the base in NF4; on the dense base its answers differ a little "
        "(vox schola merge-qlora measures by how much)."
    )
