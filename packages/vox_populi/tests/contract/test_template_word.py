"""What `--template` and `--template-date` accept."""

from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.contract.template_word import parse_day, parse_template
from vox_populi.data.training_text import ChatTemplate, TemplatePlace
from vox_populi.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", ChatTemplate.AUTO),
        (" ChatML ", ChatTemplate.CHATML),
        ("model", ChatTemplate.MODEL),
        ("model:tool_use", TemplatePlace(name="tool_use")),
        ("my/own.jinja", TemplatePlace(file=Path("my/own.jinja"))),
        ("x.J2", TemplatePlace(file=Path("x.J2"))),
    ],
)
def test_words_names_and_files(text: str, expected: ChatTemplate | TemplatePlace) -> None:
    assert parse_template(text) == expected
    assert parse_template(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "file", "model:", "llama3", "own.txt"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_template(text)


def test_a_date_is_a_day() -> None:
    assert parse_day(" 2026-11-26 ") == "2026-11-26"
    for text in ("", "26.11.2026", "2026-13-01", "20261126"):
        with pytest.raises(ConfigError):
            parse_day(text)
