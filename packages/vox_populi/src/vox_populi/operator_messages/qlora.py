"""Requests and plans with a 4-bit base (MENS-C from 009 on, MENS-P from 020 on)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

MAX_KEYS_SHOWN = 32
"""Names of tensors that one sentence lists."""


def nf4_needs_qlora() -> Problem:
    """The LoRA kernel computes with bases as they are stored."""
    return Problem(
        code="MENS-C009",
        what="the LoRA kernel has no NF4 bases: --base-quant nf4 needs --backend qlora.",
        where="--base-quant",
        fix="Pass --backend qlora, or drop --base-quant nf4.",
    )


def qlora_needs_nf4() -> Problem:
    """A QLoRA run on a base that is not quantised is a LoRA run."""
    return Problem(
        code="MENS-C010",
        what="--backend qlora trains on an NF4 base; --base-quant none asks for another.",
        where="--base-quant",
        fix="Pass --base-quant nf4 or drop the flag, or train with --backend lora.",
    )


def qlora_flags_without_qlora(flags: Sequence[str]) -> Problem:
    """Settings that decide nothing would be taken for granted."""
    return Problem(
        code="MENS-C011",
        what=f"{', '.join(flags)} {_has(flags)} no effect with --backend lora.",
        where="--backend",
        fix=f"Pass --backend qlora, or drop {', '.join(flags)}.",
    )


def proxy_flags_with_full_graph(flags: Sequence[str]) -> Problem:
    """The full graph has no proxy stack that could be limited."""
    return Problem(
        code="MENS-C012",
        what=f"{', '.join(flags)} {_has(flags)} no meaning in the full graph.",
        where="--qlora-graph",
        fix=f"Pass --qlora-graph proxy, or drop {', '.join(flags)}.",
    )


def flags_exclude_each_other(one: str, other: str) -> Problem:
    """Two settings of which each asks for what the other rules out."""
    return Problem(
        code="MENS-C013",
        what=f"{one} and {other} contradict each other.",
        where=one,
        fix=f"Drop {one} or {other}.",
    )


def kernel_not_implied(forced: str, implied: str, method: str, quant: str) -> Problem:
    """A kernel was named that the rest of the request does not lead to."""
    return Problem(
        code="MENS-C014",
        what=f"--kernel {forced} was asked for, but adapter method {method} on a base"
        f" quantised as {quant} runs on {implied}.",
        where="--kernel",
        fix=f"Pass --kernel {implied} or drop the flag, or change --backend.",
    )


def mobile_edge_rejects_full_stack() -> Problem:
    """What must fail closed on a workstation cannot be promised for a phone."""
    return Problem(
        code="MENS-C015",
        what="deployment target mobile_edge cannot require the full proxy stack.",
        where="--qlora-require-full-proxy-stack",
        fix="Drop --qlora-require-full-proxy-stack, or drop --deployment-target mobile_edge.",
    )


def full_graph_incomplete(where: str, missing: Sequence[str]) -> Problem:
    """Weights of the transformer are not in the folder; nothing is left out silently."""
    return Problem(
        code="MENS-P020",
        what=f"the full graph needs tensors that are not there: {_named(missing)}.",
        where=where,
        fix="Complete the folder, or pass --qlora-graph proxy, which trains a bounded proxy on"
        " what there is; its loss is no loss of the full graph.",
    )


def proxy_stack_incomplete(where: str, missing: Sequence[str], expected: int) -> Problem:
    """A strict stack fails closed."""
    return Problem(
        code="MENS-P021",
        what=f"the strict proxy stack needs {expected} square output projections, and"
        f" {expected - len(missing)} are there; missing: {_named(missing)}.",
        where=where,
        fix="Complete the folder, or pass --qlora-graph proxy --qlora-allow-partial-proxy-stack"
        " and drop --qlora-require-full-proxy-stack; then the LM head alone is trained.",
    )


def proxy_stack_not_square(where: str, names: Sequence[str]) -> Problem:
    """No folder of this model has a stack: its output projections change the width."""
    return Problem(
        code="MENS-P024",
        what="the strict proxy stack needs square output projections, and those of this model"
        f" are not square: {_named(names)}.",
        where=where,
        fix="Pass --qlora-graph full, or --qlora-graph proxy --qlora-allow-partial-proxy-stack"
        " without --qlora-require-full-proxy-stack; then the LM head alone is trained.",
    )


def nf4_cache_unusable(path: str, reason: str) -> Problem:
    """Quantised bases can neither be kept there nor lie there already."""
    return Problem(
        code="MENS-P023",
        what=f"the folder of quantised bases cannot be used: {reason}.",
        where=path,
        fix="Name another --nf4-cache-dir, or leave it out.",
    )


def skip_rate_exceeded(where: str, skipped: int, rows: int, limit: float) -> Problem:
    """More rows cannot be learned from than the operator accepts."""
    return Problem(
        code="MENS-P022",
        what=f"the skip rate is {skipped / rows:.4g} ({skipped} of {rows} rows), more than the"
        f" {limit:g} that --qlora-max-skip-rate allows.",
        where=where,
        fix="Repair the rows, which vox mens corpus validate names, or raise"
        " --qlora-max-skip-rate.",
    )


def proxy_losses(graph: str) -> str:
    """Stands above the losses of a proxy run."""
    return f"{graph}: these losses are no full-graph losses"


def note_proxy_objective(ce_last_k: int) -> str:
    """Nobody may take this loss for the other one."""
    return (
        "the proxy predicts from the token before alone, without attention, and learns the last"
        f" {ce_last_k} supervised token{'s' if ce_last_k > 1 else ''} of a row: its loss is no"
        " full-graph loss and compares with none."
    )


def note_head_only(missing: Sequence[str], expected: int) -> str:
    """The stack is not complete, so none of it is trained."""
    return (
        f"ONLY THE LM HEAD IS TRAINED: {len(missing)} of {expected} output projections of the"
        f" proxy stack are missing: {_named(missing)}. --qlora-require-full-proxy-stack refuses"
        " such a base."
    )


def note_head_only_not_square(names: Sequence[str]) -> str:
    """This family's output projections cannot be put one behind the other."""
    return (
        "ONLY THE LM HEAD IS TRAINED: the output projections of this model are not square, so"
        f" none of them fits the proxy stack: {_named(names)}. --qlora-require-full-proxy-stack"
        " refuses such a base."
    )


def note_strict_on_cuda() -> str:
    """On a GPU an incomplete stack is refused without being asked."""
    return (
        "--device cuda requires the full proxy stack; --qlora-allow-partial-proxy-stack lifts that."
    )


def note_prequantized(flag: str, asked: str, stored: str) -> str:
    """A base that is in NF4 already is taken as it is."""
    return f"{flag} has no effect: this base is stored in NF4 already ({stored}, not {asked})."


def note_base_prequantized(block_size: int, *, double_quant: bool) -> str:
    """Nothing is quantised again."""
    nested = "double" if double_quant else "single"
    return (
        f"this base is stored in NF4 already: block size {block_size}, {nested} quantisation,"
        " loaded as it is."
    )


def note_dense_copies(chosen: str, estimates: Sequence[tuple[str, int]]) -> str:
    """What each policy would take, and which one runs."""
    sizes = ", ".join(f"{name} {size / 2**20:,.1f} MiB" for name, size in estimates)
    return f"dense copies of the 4-bit weights: {chosen}; estimated are {sizes} (--nf4-cache)."


def note_nf4_by_torch(reason: str) -> str:
    """The numbers are the same, the speed is not."""
    return (
        f"bitsandbytes is not used ({clipped(reason)}): torch makes the 4-bit weights dense, with"
        " the same numbers and slower; pip install -U bitsandbytes may help."
    )


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_KEYS_SHOWN])
    more = len(names) - MAX_KEYS_SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"


def _has(words: Sequence[str]) -> str:
    return "has" if len(words) == 1 else "have"
