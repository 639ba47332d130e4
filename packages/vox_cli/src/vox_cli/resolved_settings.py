"""The output of `--print-config`: every setting, its value and its source."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import yaml

from vox_cli.setting_sources import Chosen, Source
from vox_tensor.visible_text import one_line


def settings_as_json(chosen: Mapping[str, Chosen]) -> dict[str, object]:
    """Each setting with value, source and origin."""
    return {
        name: {"value": plain_value(each.value), "source": each.source, "origin": each.origin}
        for name, each in chosen.items()
    }


def settings_as_yaml(chosen: Mapping[str, Chosen]) -> str:
    """An equivalent config file, each line with its source.

    Settings left at `null` by default are comments: a file need not repeat them.
    """
    lines = [
        (_entry(name, each), f"{each.source}{_where(each)}")
        for name, each in chosen.items()
        if name != "preset" or each.value is not None
    ]
    width = min(max(len(entry) for entry, _ in lines), 40)
    return "\n".join(f"{entry:<{width}}  # {source}" for entry, source in lines)


def plain_value(value: object) -> object:
    """A value that JSON and YAML can represent and the parsers can read back."""
    if isinstance(value, tuple):
        return [plain_value(each) for each in value]
    return str(value) if isinstance(value, Path | StrEnum) else value


def _entry(name: str, each: Chosen) -> str:
    value = plain_value(each.value)
    dumped = yaml.safe_dump(value, width=10_000, default_flow_style=True)
    # PyYAML ends a document that is one bare value with dots.
    entry = f"{name}: {dumped.removesuffix('...' + chr(10)).strip()}"
    return f"# {entry}" if value in (None, []) and each.source is Source.DEFAULT else entry


def _where(each: Chosen) -> str:
    return "" if each.origin is None else f" {one_line(each.origin)}"
