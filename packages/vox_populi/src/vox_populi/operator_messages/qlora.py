"""Requests and plans with a 4-bit base (from MENS-C009 and MENS-P020)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

MAX_KEYS_SHOWN = 32
"""Largest number of tensor names in one message."""


def nf4_needs_qlora() -> Problem:
    """NF4 was requested for the LoRA kernel, which uses bases as they are stored."""
    return Problem(
        code="MENS-C009",
        what="the LoRA kernel does not support NF4 bases: --base-quant nf4 needs --backend qlora.",
        where="--base-quant",
        fix="Pass --backend qlora, or omit --base-quant nf4.",
    )


def qlora_needs_nf4() -> Problem:
    """A QLoRA run was requested on a base that is not quantised."""
    return Problem(
        code="MENS-C010",
        what="--backend qlora trains on an NF4 base, which --base-quant none rules out.",
        where="--base-quant",
        fix="Pass --base-quant nf4 or omit the flag, or train with --backend lora.",
    )


def qlora_flags_without_qlora(flags: Sequence[str]) -> Problem:
    """QLoRA settings without the QLoRA backend."""
    return Problem(
        code="MENS-C011",
        what=f"{', '.join(flags)} {_has(flags)} no effect with --backend lora.",
        where="--backend",
        fix=f"Pass --backend qlora, or omit {', '.join(flags)}.",
    )


def proxy_flags_with_full_graph(flags: Sequence[str]) -> Problem:
    """Proxy settings with the full graph, which has no proxy stack."""
    return Problem(
        code="MENS-C012",
        what=f"{', '.join(flags)} {_has(flags)} no effect in the full graph.",
        where="--qlora-graph",
        fix=f"Pass --qlora-graph proxy, or omit {', '.join(flags)}.",
    )


def flags_exclude_each_other(one: str, other: str) -> Problem:
    """Two settings that rule each other out."""
    return Problem(
        code="MENS-C013",
        what=f"{one} and {other} contradict each other.",
        where=one,
        fix=f"Omit {one} or {other}.",
    )


def kernel_not_implied(forced: str, implied: str, method: str, quant: str) -> Problem:
    """A kernel was forced that does not match the rest of the request."""
    return Problem(
        code="MENS-C014",
        what=f"--kernel {forced} was requested, but adapter method {method} on a base"
        f" quantised as {quant} runs on {implied}.",
        where="--kernel",
        fix=f"Pass --kernel {implied} or omit the flag, or change --backend.",
    )


def mobile_edge_rejects_full_stack() -> Problem:
    """A full proxy stack cannot be required for a phone."""
    return Problem(
        code="MENS-C015",
        what="deployment target mobile_edge cannot require the full proxy stack.",
        where="--qlora-require-full-proxy-stack",
        fix="Omit --qlora-require-full-proxy-stack, or omit --deployment-target mobile_edge.",
    )


def full_graph_incomplete(where: str, missing: Sequence[str]) -> Problem:
    """The folder lacks weights of the transformer; nothing is left out silently."""
    return Problem(
        code="MENS-P020",
        what=f"the full graph needs tensors that are missing: {_named(missing)}.",
        where=where,
        fix="Complete the folder, or pass --qlora-graph proxy, which trains a bounded proxy on"
        " the existing tensors; its loss is not a full-graph loss.",
    )


def proxy_stack_incomplete(where: str, missing: Sequence[str], expected: int) -> Problem:
    """A strict stack is incomplete and fails closed."""
    return Problem(
        code="MENS-P021",
        what=f"the strict proxy stack needs {expected} square output projections, but there are"
        f" only {expected - len(missing)}; missing: {_named(missing)}.",
        where=where,
        fix="Complete the folder, or pass --qlora-graph proxy --qlora-allow-partial-proxy-stack"
        " and omit --qlora-require-full-proxy-stack to train only the LM head.",
    )


def proxy_stack_not_square(where: str, names: Sequence[str]) -> Problem:
    """This model cannot have a stack, because its output projections change the width."""
    return Problem(
        code="MENS-P024",
        what="the strict proxy stack needs square output projections, but those of this model"
        f" are not square: {_named(names)}.",
        where=where,
        fix="Pass --qlora-graph full, or --qlora-graph proxy --qlora-allow-partial-proxy-stack"
        " without --qlora-require-full-proxy-stack to train only the LM head.",
    )


def nf4_cache_unusable(path: str, reason: str) -> Problem:
    """The folder cannot be used for quantised bases."""
    return Problem(
        code="MENS-P023",
        what=f"the folder of quantised bases cannot be used: {reason}.",
        where=path,
        fix="Choose another --nf4-cache-dir, or omit it.",
    )


def skip_rate_exceeded(where: str, skipped: int, rows: int, limit: float) -> Problem:
    """More rows are unusable than the operator accepts."""
    return Problem(
        code="MENS-P022",
        what=f"the skip rate is {skipped / rows:.4g} ({skipped} of {rows} rows), more than the"
        f" {limit:g} that --qlora-max-skip-rate allows.",
        where=where,
        fix="Fix the rows that vox mens corpus validate lists, or raise --qlora-max-skip-rate.",
    )


def proxy_losses(graph: str) -> str:
    """The heading of a proxy run's losses."""
    return f"{graph}: these are not full-graph losses"


def note_proxy_objective(ce_last_k: int) -> str:
    """Warns that this loss is not a full-graph loss."""
    return (
        "the proxy predicts from the previous token only, without attention, and learns the last"
        f" {ce_last_k} supervised token{'s' if ce_last_k > 1 else ''} of a row: its loss is not"
        " comparable with a full-graph loss."
    )


def note_head_only(missing: Sequence[str], expected: int) -> str:
    """The stack is incomplete, so none of it is trained."""
    return (
        f"ONLY THE LM HEAD IS TRAINED: {len(missing)} of {expected} output projections of the"
        f" proxy stack are missing: {_named(missing)}. --qlora-require-full-proxy-stack refuses"
        " such a base."
    )


def note_head_only_not_square(names: Sequence[str]) -> str:
    """This family's output projections cannot be stacked."""
    return (
        "ONLY THE LM HEAD IS TRAINED: the output projections of this model are not square, so"
        f" none of them fits the proxy stack: {_named(names)}. --qlora-require-full-proxy-stack"
        " refuses such a base."
    )


def note_strict_on_cuda() -> str:
    """On a GPU an incomplete stack is refused by default."""
    return "--device cuda requires the full stack; --qlora-allow-partial-proxy-stack accepts less."


def note_prequantized(flag: str, asked: str, stored: str) -> str:
    """A base already stored in NF4 is used as it is."""
    return f"{flag} has no effect: this base is already stored in NF4 ({stored}, not {asked})."


def note_base_prequantized(block_size: int, *, double_quant: bool) -> str:
    """A base that is not quantised again."""
    nested = "double" if double_quant else "single"
    return (
        f"this base is already stored in NF4: block size {block_size}, {nested} quantisation,"
        " loaded as it is."
    )


def note_dense_copies(chosen: str, estimates: Sequence[tuple[str, int]]) -> str:
    """The memory each policy would need, and the chosen one."""
    sizes = ", ".join(f"{name} {size / 2**20:,.1f} MiB" for name, size in estimates)
    return f"dense copies of the 4-bit weights: {chosen}; estimates: {sizes} (--nf4-cache)."


def note_nf4_by_torch(reason: str) -> str:
    """The use of torch instead of bitsandbytes, with the same numbers but slower."""
    return (
        f"bitsandbytes is not used ({clipped(reason)}): torch dequantises the 4-bit weights, with"
        " the same numbers but more slowly; pip install -U bitsandbytes may help."
    )


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_KEYS_SHOWN])
    more = len(names) - MAX_KEYS_SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"


def _has(words: Sequence[str]) -> str:
    return "has" if len(words) == 1 else "have"
