from __future__ import annotations

from html.parser import HTMLParser

import pytest

from vox_populi.pages.markup import Markup, element, escaped, joined, style_element

HOSTILE = (
    "</script><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "<!-- --> ]]> <![CDATA[ & &lt; &#0;",
    "</pre></article></body>",
    "javascript:alert(1)",
    "\x00\x1b[2J\u202e\u2028\ud800",
)


class Seen(HTMLParser):
    """What a parser that is not ours makes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_text_in_children_and_attributes(text: str) -> None:
    seen = Seen(element("p", text, [text], title=text))
    assert seen.tags == ["p"]
    assert [name for name, _ in seen.attributes] == ["title"]
    assert seen.text == 2 * (seen.attributes[0][1] or "")
    assert not any(ord(letter) < 32 for letter in seen.text)


def test_markup_is_kept_and_what_is_added_to_it_is_not() -> None:
    inner = element("b", "x")
    assert element("p", inner) == "<p><b>x</b></p>"
    assert element("p", inner + "<i>") == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"
    assert joined("a", None, 3, [inner]) == "a3<b>x</b>"


def test_attributes_of_all_kinds() -> None:
    assert element("input", class_="a", data_x=1, hidden=True, id=None, open=False) == (
        '<input class="a" data-x="1" hidden>'
    )
    assert isinstance(escaped("<"), Markup)


def test_a_style_sheet_cannot_close_its_element() -> None:
    with pytest.raises(AssertionError):
        style_element("</style>")
