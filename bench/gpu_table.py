"""The results of `gpu_check.py` as Markdown, with the goals beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpu_shapes import SHAPES

GiB = 2**30


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """All parts of several runs; of a part that several have, the last one that is complete."""
    merged: dict[str, Any] = {}
    for run in runs:
        for name, part in run.items():
            if part["status"] == "ok" or name not in merged:
                merged[name] = part
    return "\n".join([*_environment(merged), *_speeds(merged), *_others(merged), ""])


def _result(parts: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = parts.get(name, {}).get("result", {})
    return found


def _environment(parts: Mapping[str, Any]) -> Iterator[str]:
    found = _result(parts, "environment")
    if found:
        versions = ", ".join(f"{name} {at}" for name, at in found["versions"].items())
        yield (
            f"{found['device']}, {versions}; products {found['gemm_flops'] / 1e12:.0f} TFLOP/s, "
            f"copy {found['copy_bytes_per_s'] / 1e9:.0f} GB/s."
        )
        yield ""


def _speeds(parts: Mapping[str, Any]) -> Iterator[str]:
    yield "| part | tokens/s | of 989 TFLOP/s | peak GiB | first and last loss | norm | goal |"
    yield "|---|---|---|---|---|---|---|"
    goals = {f"lora-{shape.name}": shape.goal for shape in SHAPES}
    goals |= {f"qlora-{shape.name}": shape.qlora_goal for shape in SHAPES}
    for name, part in parts.items():
        found = part.get("result", {})
        if "tokens_per_s" not in found:
            continue
        losses, norms, peak = found["losses"], found["gradient_norms"], found["peak_bytes"]
        yield (
            f"| {name} | {found['tokens_per_s']:,.0f} | {100 * found['mfu_of_989']:.1f} % "
            f"| {0.0 if peak is None else peak / GiB:.1f} | {losses[0]:.4f}, {losses[-1]:.4f} "
            f"| {norms[-1]:.3g} | {goals.get(name, '')} |"
        )
    yield ""


def _others(parts: Mapping[str, Any]) -> Iterator[str]:
    """Programs, parity, kernels, profiles, and what did not run."""
    yield from _runs(parts)
    for case, apart in _result(parts, "parity").items():
        yield f"- parity, {case}: f32 {apart['off_f32']:.1e}, bf16 {apart['off_bf16']:.1e} off"
    for kind, figures in _result(parts, "nf4").items():
        if isinstance(figures, dict):
            said = ", ".join(f"{key} {_short(value)}" for key, value in figures.items())
            yield f"- NF4, {kind} quantisation: {said}"
    yield from _figures("pointwise", _result(parts, "pointwise"))
    for case, figures in _result(parts, "attention").items():
        if not isinstance(figures, dict):
            yield f"- attention: {case}: {figures}"
            continue
        rate = figures["causal_flops"] / 1e12
        yield f"- attention, {case}: {1e3 * figures['seconds']:.2f} ms, {rate:.0f} TFLOP/s"
    for name in (n for n in parts if n.startswith("profile-")):
        yield from _profile(name, _result(parts, name))
    for name, part in parts.items():
        if part["status"] != "ok":
            yield f"- {name}: {part['status']}: {part.get('error', '').strip()[-300:]}"


def _runs(parts: Mapping[str, Any]) -> Iterator[str]:
    """What ran as programs of their own."""
    found = _result(parts, "tests")
    if found:
        yield f"- tests: {found['summary']}"
        yield from (f"  - {line}" for line in found["problems"])
    found = _result(parts, "demo")
    if found:
        yield f"- demo: {found['seconds']:.0f} s, said at last: {found['said']}"


def _figures(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    for case, figures in found.items():
        said = ", ".join(f"{key} {_short(value)}" for key, value in figures.items())
        yield f"- {name}, {case}: {said}"


def _profile(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    if not found:
        return
    yield (
        f"- {name}: {found['wall_seconds']:.3f} s, kernels {found['device_seconds']:.3f} s in "
        f"{found['launches']} launches; {found['runtime_calls']}"
    )
    yield from (
        f"  - {1e3 * spent:.1f} ms, {n} x {kernel}" for kernel, spent, n in found["busiest"]
    )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
