"""YAML is read as JSON would be: words stay words, and nothing is hidden in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vox_cli.yaml_values import read_yaml
from vox_populi.errors import ConfigError


def read(text: str, tmp_path: Path) -> object:
    file = tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    return read_yaml(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("[1, -2, 0.5, 1e-3, '1', yes, on, true, null, ~]", None),
        ("{a: 2026-01-01, b: 1:30, c: 0x10, d: 1_000, e: .inf}", None),
        ('{"a": {"b": [1, "\\u00e9"]}}', {"a": {"b": [1, "é"]}}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
    ],
)
def test_values(text: str, value: object, tmp_path: Path) -> None:
    expected = {
        "[": [1, -2, 0.5, 0.001, "1", "yes", "on", True, None, None],
        "{a": {"a": "2026-01-01", "b": "1:30", "c": "0x10", "d": "1_000", "e": ".inf"},
    }
    wanted = next((each for head, each in expected.items() if text.startswith(head)), value)
    assert read(text, tmp_path) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "a: &x [1]\nb: *x",
        "a: !!python/object:os.system x",
        "a: !own x",
        "? [a]\n: 1",
        "<<: {a: 1}",
        "a: [",
    ],
)
def test_what_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read(text, tmp_path)
