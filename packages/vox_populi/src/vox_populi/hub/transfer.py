"""Reports of a transfer while it runs. Nothing here knows the hub's library."""

from __future__ import annotations

from typing import Protocol


class TransferWatcher(Protocol):
    """Is told what a transfer does; it may be called from several threads."""

    def note(self, text: str) -> None:
        """Say something once."""

    def progress(self, done: int, total: int) -> None:
        """Bytes so far, and all of them."""

    def close(self) -> None:
        """The transfer is over, or was given up."""


class Unwatched:
    """The watcher of programs that want to hear nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def progress(self, done: int, total: int) -> None:
        """Show nothing."""

    def close(self) -> None:
        """There is nothing to close."""


UNWATCHED = Unwatched()
