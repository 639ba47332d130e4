"""The metadata of a row, and defaults for what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

CODE_LANE = "vox_codegen"
TOOLING_LANE = "vox_tooling"
SPEECH_LANE = "vox_speech"
DOCS_LANE = "vox_docs_qa"

_TASK_FAMILIES = {
    CODE_LANE: "vox_codegen",
    TOOLING_LANE: "tool_trace",
    SPEECH_LANE: "speech_to_code",
    DOCS_LANE: "docs_qa",
}
_SYNTHETIC_WORDS = {"synthetic", "generated", "template", "templates", "mutated"}
_AGENT_WORDS = {"agent", "agents", "autofeedback", "dogfood", "replay", "trace", "trajectory"}
_WORD = re.compile(r"[a-z0-9]+")


def with_metadata(row: Mapping[str, object]) -> dict[str, object]:
    """A row completed with `lane`, `response_mode`, `task_family` and `origin`.

    A blank value counts as absent, as everywhere in a row.
    """
    # `tool_trace:7f3a` is of the kind tool_trace; what follows the colon may be any name.
    source_kind = _text(row, "source").partition(":")[0]
    filled = dict(row)
    for key, value in _implied(_text(row, "category"), source_kind).items():
        _fill(filled, key, value)
    prose = filled["lane"] == DOCS_LANE
    _fill(filled, "response_mode", "prose_only" if prose else "code_only")
    return filled


def implied_lane(row: Mapping[str, object]) -> str:
    """The lane implied by a row's category."""
    return _lane(_text(row, "category").casefold())


@lru_cache(maxsize=1024)
def _implied(category: str, source_kind: str) -> Mapping[str, str]:
    """Metadata implied by category and kind of source."""
    lane = _lane(category.casefold())
    words = set(_WORD.findall(f"{category} {source_kind}".casefold()))
    origin = "agent" if words & _AGENT_WORDS else "human"
    return {
        "lane": lane,
        "task_family": _TASK_FAMILIES[lane],
        "origin": "synthetic" if words & _SYNTHETIC_WORDS else origin,
    }


def _lane(category: str) -> str:
    if "tool_trace" in category:
        return TOOLING_LANE
    if "speech" in category or "asr_refine" in category:
        return SPEECH_LANE
    return DOCS_LANE if "documentation" in category else CODE_LANE


def _fill(row: dict[str, object], key: str, value: str) -> None:
    found = row.get(key)
    if found is None or (isinstance(found, str) and not found.strip()):
        row[key] = value


def _text(row: Mapping[str, object], key: str) -> str:
    found = row.get(key)
    return found if isinstance(found, str) else ""
