"""The request, with its 4-bit settings (MENS-C)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.likeness import nearest
from vox_populi.operator_messages.peer_names import PEER_WORDS
from vox_tensor.errors import Problem


def choice_unknown(got: str, choices: Sequence[str]) -> Problem:
    """A word that is not a choice; suggests a peer's meaning of it, or the closest choice."""
    word = got.strip().lower()
    known = [each for each in PEER_WORDS.get(word.replace("-", "_"), ()) if each in choices]
    near = known[0] if known else nearest(word, choices)
    hint = f"Did you mean {near}? " if near else ""
    return Problem(
        code="MENS-C001",
        what=f"{got!r} is not one of the choices.",
        fix=f"{hint}Choose from: {', '.join(choices)}.",
    )


def setting_out_of_range(got: object, allowed: str) -> Problem:
    """A number, or empty text, that is not allowed for a setting."""
    return Problem(
        code="MENS-C002",
        what=f"{got} is not allowed.",
        fix=f"Use {allowed}.",
    )


def threads_beyond_cpus(threads: int, cpus: int) -> Problem:
    """More threads than this process has cores for."""
    cores = "1 core" if cpus == 1 else f"{cpus} cores"
    return Problem(
        code="MENS-C020",
        what=f"{threads} threads are more than the {cores} this process may use.",
        where="--threads",
        fix=f"Pass 1 to {cpus}, or omit --threads.",
    )


def qlora_needs_hf_tokenizer(got: str) -> Problem:
    """The NF4 kernel reads token ids that only the base model's tokenizer produces."""
    return Problem(
        code="MENS-C003",
        what=f"--backend qlora cannot run with --tokenizer {got}.",
        fix="Pass --tokenizer hf, or train with --backend lora.",
    )


TARGETS_EMPTY = Problem(
    code="MENS-C004",
    what="no projection is selected.",
    where="--targets",
    fix="List some of q,k,v,o,gate,up,down,lm_head, or pass all.",
)
"""No projection was selected, so nothing would train."""


def mobile_edge_needs_cpu(got: str) -> Problem:
    """A mobile_edge adapter must be trained where its numerics can be reproduced."""
    return Problem(
        code="MENS-C005",
        what=f"deployment target mobile_edge cannot run with --device {got}.",
        fix="Pass --device cpu, or drop --deployment-target mobile_edge.",
    )


def mobile_edge_limit(flag: str, got: int, limit: int) -> Problem:
    """A size that is too large for a phone."""
    return Problem(
        code="MENS-C006",
        what=f"{got} is too large for deployment target mobile_edge.",
        where=flag,
        fix=f"Pass {flag} {limit} or less, or drop --deployment-target mobile_edge.",
    )


PATH_HAS_NUL = Problem(
    code="MENS-C007",
    what="the path contains a zero byte.",
    fix="Pass a path without it.",
)
"""No file system accepts a zero byte in a name."""

TEXT_NOT_UNICODE = Problem(
    code="MENS-C008",
    what="the text contains bytes that are not valid Unicode.",
    fix="Pass it as UTF-8; check the terminal's locale.",
)
"""Command-line bytes that are not valid in its encoding."""


NF4_NEEDS_QLORA = Problem(
    code="MENS-C009",
    what="the LoRA kernel does not support NF4 bases: --base-quant nf4 needs --backend qlora.",
    where="--base-quant",
    fix="Pass --backend qlora, or omit --base-quant nf4.",
)
"""NF4 was requested for the LoRA kernel, which uses bases as they are stored."""


QLORA_NEEDS_NF4 = Problem(
    code="MENS-C010",
    what="--backend qlora trains on an NF4 base, which --base-quant none rules out.",
    where="--base-quant",
    fix="Pass --base-quant nf4 or omit the flag, or train with --backend lora.",
)
"""A QLoRA run was requested on a base that is not quantised."""


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


MOBILE_EDGE_REJECTS_FULL_STACK = Problem(
    code="MENS-C015",
    what="deployment target mobile_edge cannot require the full proxy stack.",
    where="--qlora-require-full-proxy-stack",
    fix="Omit --qlora-require-full-proxy-stack, or omit --deployment-target mobile_edge.",
)
"""A full proxy stack cannot be required for a phone."""


def _has(words: Sequence[str]) -> str:
    return "has" if len(words) == 1 else "have"
