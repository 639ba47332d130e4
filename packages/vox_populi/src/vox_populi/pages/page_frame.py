"""A whole page around its content: style sheet, security policy, tables of values."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

from vox_populi.pages.markup import Child, Markup, element, joined, script_element, style_element
from vox_populi.pages.page_style import STYLE
from vox_populi.version import __version__


def whole_page(title: str, *content: Child, more_style: str = "", script: str = "") -> Markup:
    """A document that loads nothing, even if a row had got through as markup.

    Args:
        title: Of the document, and its first heading.
        content: What is below the heading.
        more_style: Rules beside those of every page.
        script: The only program that the page can run; one of ours, without text of others.
    """
    css = STYLE + more_style
    may_run = f"; script-src '{_digest(script)}'" if script else ""
    policy = (
        f"default-src 'none'; style-src '{_digest(css)}'{may_run};"
        " form-action 'none'; base-uri 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="generator", content=f"vox mens {__version__}"),
        element("title", title),
        style_element(css),
    )
    main = element("main", element("h1", title), *content)
    body = element("body", main, script_element(script) if script else None)
    return Markup(f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n")


def _digest(text: str) -> str:
    """The source expression of a content security policy for exactly this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Child]], *, class_: str | None = None
) -> Markup:
    """A table whose first column names the rows; it scrolls sideways where it is too wide."""
    head = element("tr", (element("th", name, scope="col") for name in columns))
    body = (
        element(
            "tr",
            element("th", row[0], scope="row"),
            (element("td", cell) for cell in row[1:]),
        )
        for row in rows
    )
    inner = element("table", element("thead", head), element("tbody", body), class_=class_)
    return element("div", inner, class_="scroll", tabindex=0, role="region", aria_label=columns[0])


def choice(name: str, label: str, options: Iterable[tuple[str, str]]) -> Markup:
    """A list to choose from: values and the words for them."""
    listed = (element("option", words, value=value) for value, words in options)
    return element("label", label, " ", element("select", listed, id=name))


def filter_style(name: str, attribute: str, values: Iterable[str]) -> str:
    """Rules that hide every row without the chosen value; values are the program's own words."""
    return "".join(
        f'body:has(#{name} option[value="{value}"]:checked)'
        f' .row:not([data-{attribute}~="{value}"]) {{ display: none; }}\n'
        for value in values
    )


def percent(share: float) -> str:
    """A share for people: three digits, and never 0 or 100 for what is neither."""
    shown = f"{100 * share:.3g}"
    if 0 < share < 1e-5:
        return "under 0.001 %"
    if share < 1 and float(shown) >= 100:
        return "over 99.9 %"
    return f"{shown} %"


def sections(*parts: tuple[str, Child]) -> Markup:
    """Headed sections; one without content is omitted."""
    return joined(*(element("section", element("h2", head), part) for head, part in parts if part))
