"""What the hub's library takes for its progress bars; it draws nothing and adds up the bytes."""

from __future__ import annotations

from typing import Any

from vox_populi.hub.transfer import TransferWatcher


def counting_bar(watcher: TransferWatcher, total: int) -> type:
    """A class of bars, of which each file gets one; all of them count for one watcher.

    It has what `huggingface_hub` calls on the class that its own `snapshot_download` passes on.
    """
    done = 0

    class CountingBar:
        """One file's bar."""

        def __init__(self, *_: Any, **__: Any) -> None:
            """Take what a bar takes."""

        def __enter__(self) -> CountingBar:
            return self

        def __exit__(self, *_: object) -> None:
            """There is nothing to end."""

        def close(self) -> None:
            """There is nothing to close."""

        def update(self, n: float | None = 1) -> None:
            """Count bytes that were written; a file that is fetched again takes its bytes back."""
            nonlocal done
            done += int(n or 0)
            watcher.progress(min(done, total), total)

        def update_transfer(self, n: float | None = 1) -> None:
            """Bytes on the wire are not shown."""

        def set_postfix_str(self, *_: Any, **__: Any) -> None:
            """The rate is shown by the watcher."""

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            """The rate is shown by the watcher."""

    return CountingBar
