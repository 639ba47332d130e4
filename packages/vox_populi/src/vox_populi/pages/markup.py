"""HTML from Python values. Text is escaped wherever it is used, and `Markup` alone is not."""

from __future__ import annotations

import html
from collections.abc import Iterable

from vox_tensor.visible_text import visible

# Elements of a drawing are closed: without a slash, a browser would nest them.
_VOID = frozenset({"meta", "input", "br", "hr"})


class Markup(str):
    """Text that is HTML already; only this module makes it."""

    __slots__ = ()


Child = str | int | Markup | Iterable["Child"] | None
"""A child of an element: text, which is escaped, markup, several of them, or nothing."""


def escaped(text: str) -> Markup:
    """Text without any meaning to a browser; control characters are shown as escapes."""
    return Markup(html.escape(visible(text), quote=True))


def element(tag: str, /, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """An element with its children.

    Args:
        tag: A literal of the program.
        children: What is in it.
        attributes: By name, with `_` for `-` and `class_` for `class`; `None` and `False` are
            omitted, and `True` is an attribute without a value.
    """
    head = f"<{tag}{''.join(map(_attribute, attributes.items()))}>"
    if tag in _VOID:
        return Markup(head)
    return Markup(f"{head}{joined(*children)}</{tag}>")


def joined(*children: Child) -> Markup:
    """Children one after the other."""
    return Markup("".join(map(_child, children)))


def style_element(css: str) -> Markup:
    """A style sheet of the program; it must not contain text of others."""
    assert "<" not in css, "could close its element"
    return Markup(f"<style>{css}</style>")


def script_element(program: str) -> Markup:
    """A script of the program; text of others reaches it as attributes of elements only."""
    assert "</" not in program, "could close its element"
    assert "<!--" not in program, "could begin a comment"
    return Markup(f"<script>{program}</script>")


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int):
        return escaped(str(child))
    return joined(*child)


def _attribute(given: tuple[str, str | int | bool | None]) -> str:
    name, value = given
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escaped(str(value))}"'
