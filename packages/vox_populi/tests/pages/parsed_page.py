"""A page as a parser sees it that shares no code with ours."""

from __future__ import annotations

from html.parser import HTMLParser

Attributes = dict[str, str | None]


class ParsedPage(HTMLParser):
    """Tags, attributes and text of a page; checks that every element is closed in order."""

    VOID = frozenset({"meta", "input", "br", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Attributes]] = []
        self.open: list[str] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        """Open tags and the text inside, in order."""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    def text_in(self, tag: str) -> list[str]:
        """The texts directly or further inside an element."""
        return [text for tags, text in self.texts if tag in tags]

    def find(self, tag: str, **attributes: str) -> list[Attributes]:
        """The attributes of elements with these."""
        return [
            found
            for name, found in self.elements
            if name == tag and attributes.items() <= found.items()
        ]
