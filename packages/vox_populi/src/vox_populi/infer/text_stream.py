"""Ids as text, as they come: no half characters, and nothing of a text that ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_HALF_A_CHARACTER = "\ufffd"


class TextStream:
    """Turns ids into text as they come, and holds an incomplete character back.

    Only the last ids are decoded for each new one, with some before them as their context: a
    tokenizer may write the first token of a text differently.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self.ids: list[int] = []
        self.text = ""
        self._decode = decode
        self._context = 0
        """First id of the context."""
        self._shown = 0
        """First id whose text was not given yet."""

    def take(self, token: int) -> str:
        """The text that a new id completes."""
        self.ids.append(token)
        text = self._unshown()
        return "" if text.endswith(_HALF_A_CHARACTER) else self._show(text)

    def finish(self) -> str:
        """The text that was held back."""
        return self._show(self._unshown())

    def _unshown(self) -> str:
        context = self._decode(self.ids[self._context : self._shown])
        return self._decode(self.ids[self._context :])[len(context) :]

    def _show(self, text: str) -> str:
        if text:
            self._context, self._shown = self._shown, len(self.ids)
            self.text += text
        return text


class StopFinder:
    """Passes a text on until it contains one of some strings, which is not part of it.

    What could be the start of one is held back until that is decided.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None
        """The string that ended the text."""

    def take(self, text: str) -> str:
        """More of the text; what of it is certain to be shown."""
        if self.found is not None:
            return ""
        self._held += text
        places = [(self._held.find(stop), stop) for stop in self._stops]
        ends = [(place, stop) for place, stop in places if place >= 0]
        if ends:
            end, self.found = min(ends)
            shown, self._held = self._held[:end], ""
            return shown
        certain = len(self._held) - self._undecided()
        shown, self._held = self._held[:certain], self._held[certain:]
        return shown

    def finish(self) -> str:
        """What was held back, since nothing follows."""
        shown, self._held = self._held, ""
        return shown

    def _undecided(self) -> int:
        """Length of the longest end of the text that starts one of the strings."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        sizes = range(min(longest, len(self._held)), 0, -1)
        ends = (size for size in sizes if self._starts_a_stop(self._held[-size:]))
        return next(ends, 0)

    def _starts_a_stop(self, text: str) -> bool:
        return any(stop.startswith(text) for stop in self._stops)
