"""The template of a request, as typed: a word, a file, or the name of one of the base's own."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from vox_populi.contract.choices import parse_choice
from vox_populi.data.training_text import ChatTemplate, TemplatePlace
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import contract as say

TEMPLATE_WORDS = {
    each.value: each
    for each in (ChatTemplate.AUTO, ChatTemplate.MODEL, ChatTemplate.CHATML, ChatTemplate.PLAIN)
}
TEMPLATE_METAVAR = f"{'|'.join(TEMPLATE_WORDS)}|FILE.jinja"
_NAMED = f"{ChatTemplate.MODEL}:"
_SUFFIXES = (".jinja", ".jinja2", ".j2")


def parse_template(text: str) -> ChatTemplate | TemplatePlace:
    """Read `auto`, `model`, `chatml`, `plain`, `model:NAME` or a Jinja file.

    Raises:
        ConfigError: For anything else.
    """
    word = text.strip()
    if word.startswith(_NAMED) and word != _NAMED:
        return TemplatePlace(name=word.removeprefix(_NAMED))
    if word.lower().endswith(_SUFFIXES):
        return TemplatePlace(file=Path(word))
    return parse_choice("--template", text, TEMPLATE_WORDS)


def parse_day(text: str) -> str:
    """Read a day as YYYY-MM-DD.

    Raises:
        ConfigError: For anything else.
    """
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip(), re.ASCII):
            return date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        pass
    allowed = "a day as YYYY-MM-DD"
    raise ConfigError(say.setting_out_of_range(repr(text), allowed).at("--template-date"))
