"""The layout of a training's text as adapters, manifests and receipts record it: plain values.

With it, rows and prompts can be laid out again without the base's folder. No torch, no Jinja2.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from vox_populi.files.json_fields import (
    FieldError,
    check_keys,
    inside,
    take,
    take_count,
    take_object,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSource:
    """A chat template as values: everything that decides its output."""

    text: str
    tokens: Mapping[str, str]
    """`bos_token`, `eos_token` and the others, by name."""
    day: str | None = None
    """The date that it prints, as YYYY-MM-DD; `None` if it prints none."""

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of all of it."""
        content = json.dumps([self.text, dict(sorted(self.tokens.items())), self.day])
        return f"sha256:{hashlib.sha256(content.encode('ascii')).hexdigest()}"

    def as_json(self) -> dict[str, object]:
        """The fields as files store them."""
        day = {} if self.day is None else {"date": self.day}
        return {"text": self.text, "tokens": dict(sorted(self.tokens.items())), **day}


@dataclass(frozen=True, slots=True)
class TokenName:
    """A control token."""

    id: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedLayout:
    """The template of a training and the control tokens at the borders of its text."""

    template: TemplateSource | None = None
    """The Jinja template; `None` for ChatML and the plain layout."""
    bos: TokenName | None = None
    """The token that every text starts with."""
    end: TokenName
    """The token that ends an answer."""
    keeps_control_text: bool = False
    """Whether text that spells a control token was that token; `ControlText.KEEP`."""

    def as_json(self) -> dict[str, object]:
        """The fields as files store them; what does not exist is omitted."""
        template = {} if self.template is None else {"template": self.template.as_json()}
        bos = {} if self.bos is None else {"bos": _token_json(self.bos)}
        kept = {"control_text": _KEPT} if self.keeps_control_text else {}
        return {**template, **bos, "end": _token_json(self.end), **kept}


def take_layout(raw: Mapping[str, object]) -> TrainedLayout | None:
    """Read the field `layout`; files that are older than it do not have one.

    Raises:
        FieldError: With the field that is missing or wrong.
    """
    if "layout" not in raw:
        return None
    layout = take_object(raw, "layout")
    with inside("layout"):
        check_keys(layout, ("end",), ("template", "bos", "control_text"))
        if layout.get("control_text", _KEPT) != _KEPT:
            message = f"control_text is not {_KEPT}"
            raise FieldError(message)
        return TrainedLayout(
            template=_template(layout) if "template" in layout else None,
            bos=_token(layout, "bos") if "bos" in layout else None,
            end=_token(layout, "end"),
            keeps_control_text="control_text" in layout,
        )


_KEPT = "keep"


def _template(layout: Mapping[str, object]) -> TemplateSource:
    raw = take_object(layout, "template")
    with inside("template"):
        check_keys(raw, ("text", "tokens"), ("date",))
        tokens = take_object(raw, "tokens")
        return TemplateSource(
            text=take(raw, "text", str),
            tokens={name: take(tokens, name, str) for name in tokens},
            day=_day(take(raw, "date", str)) if "date" in raw else None,
        )


def _day(text: str) -> str:
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    message = "date is not a day as YYYY-MM-DD"
    raise FieldError(message)


def _token(layout: Mapping[str, object], name: str) -> TokenName:
    raw = take_object(layout, name)
    with inside(name):
        check_keys(raw, ("id", "text"))
        return TokenName(take_count(raw, "id"), take(raw, "text", str))


def _token_json(token: TokenName) -> dict[str, object]:
    return {"id": token.id, "text": token.text}
