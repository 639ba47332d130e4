"""What loggers are told: numbers by step, and settings. No text of rows, no prompt, no path."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from vox_populi.events import Event, EventName

Settings = Mapping[str, str | int | float | bool]

STEP_VALUES = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "tokens_per_sec": "train/tokens_per_second",
    "tokens_total": "train/tokens",
    "supervised_ratio_pct": "train/learned_percent",
    "longest_row_tokens": "train/longest_row_tokens",
    "peak_memory_bytes": "train/peak_memory_bytes",
    "epoch": "train/epoch",
}
"""Names in a `step` event, and names in a logger."""
HELDOUT_LOSS = "eval/loss"

_OPERATORS_TEXT = frozenset({"system_prompt", "context_filter"})
"""Settings that are free text; a logger may show them to many."""


def values_of(event: Event) -> dict[str, float]:
    """The numbers of an event; empty for one that has none."""
    if event.name is EventName.STEP:
        found = {name: _number(event.payload.get(key)) for key, name in STEP_VALUES.items()}
    elif event.name is EventName.EVALUATION:
        found = {HELDOUT_LOSS: _number(event.payload.get("val_loss"))}
    else:
        found = {}
    return {name: value for name, value in found.items() if value is not None}


def settings_to_log(
    contract: Mapping[str, object], inputs: Mapping[str, str], program: Mapping[str, str]
) -> Settings:
    """The settings of a run, the digests of its inputs, and versions, by dotted names."""
    digests = {f"digest.{name}": digest for name, digest in inputs.items()}
    versions = {f"program.{name}": value for name, value in program.items()}
    return {**dict(_leaves(contract, "")), **digests, **versions}


def _leaves(values: Mapping[str, object], lead: str) -> Iterator[tuple[str, str | int | float]]:
    for name, value in values.items():
        if name in _OPERATORS_TEXT:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{lead}{name}.")
        elif isinstance(value, str | int | float):
            yield f"{lead}{name}", value


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
