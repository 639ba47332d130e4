"""Noticing that another process of a run is gone although nothing says so. Needs torch.

A process that ends closes its connections, and all others fail at once. A machine that loses power
or its cable closes nothing, and neither does a process that was stopped: in their next exchange the
others would wait for `process_group.PATIENCE`. So each process says in the launcher's store, every
second, that it lives, and looks at what the others say.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Event, Thread
from typing import Protocol

from torch import distributed as dist

from vox_populi.errors import PeerLostError
from vox_populi.operator_messages import ranks as say
from vox_populi.train.process_group import lost_peers

SECONDS_BETWEEN_LOOKS = 1.0
LOOKS_UNTIL_LOST = 60
"""How often in a row nothing new is heard of a process. Looks are counted, not seconds: a process
that was stopped itself looks at what has come since before it judges."""
SECONDS_FOR_THE_FIRST = 5.0
"""How long the other processes of a machine leave the word to its first one."""
_LEFT = "left"


class Store(Protocol):
    """What a store of torch's is asked here."""

    def set(self, key: str, value: str) -> None:
        """Keep a value."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """The values of all keys; waits until there are some."""


class PeerWatch:
    """What one process says of itself and hears of the others, through a store.

    Args:
        store: Shared by all processes.
        rank: The number of this one.
        size: How many there are.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self._store, self._rank = store, rank
        self._keys = {other: f"alive-{other}" for other in range(size) if other != rank}
        self._heard: dict[int, bytes] = {}
        self._looks = dict.fromkeys(self._keys, 0)
        self._beats = 0

    def beat(self) -> None:
        """Say that this process lives, and hear the others.

        Raises:
            RuntimeError: When the store cannot be reached.
        """
        self._beats += 1
        self._store.set(f"alive-{self._rank}", str(self._beats))
        for rank, said in zip(
            self._keys, self._store.multi_get(list(self._keys.values())), strict=True
        ):
            if said != self._heard.get(rank):
                self._heard[rank], self._looks[rank] = said, 0

    def look(self) -> list[int]:
        """Look once; returns the processes of which nothing was heard for too long."""
        for rank in self._looks:
            self._looks[rank] += 1
        return [
            rank
            for rank, looks in self._looks.items()
            if looks > LOOKS_UNTIL_LOST and self._heard.get(rank) != _LEFT.encode()
        ]

    def leave(self) -> None:
        """Say that this process has nothing more to exchange."""
        with suppress(RuntimeError):
            self._store.set(f"alive-{self._rank}", _LEFT)


@contextmanager
def watched_peers(
    rank: int, size: int, local_rank: int, on_lost: Callable[[PeerLostError], None] | None
) -> Iterator[None]:
    """A block of code in which this process ends when nothing is heard of a different one any more.

    Its main thread may be in an exchange that nothing interrupts, so the process ends where it is,
    with 1 unless `on_lost` ends it; a run can be resumed after that as after a loss of power.

    Args:
        rank: The number of this process.
        size: How many there are.
        local_rank: Its number on this machine; the first one speaks first.
        on_lost: Called with the problem, in a separate thread.

    Raises:
        PeerLostError: When the launcher's store cannot be reached.
    """
    over = Event()
    watch = PeerWatch(_client(), rank, size)
    wait = 0.0 if local_rank == 0 else SECONDS_FOR_THE_FIRST
    # Two threads: a store behind a broken connection keeps the one waiting that asks it.
    threads = (
        Thread(target=_speak, args=(watch, over), daemon=True),
        Thread(target=_judge, args=(watch, over, wait, on_lost), daemon=True),
    )
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        threads[0].join(SECONDS_BETWEEN_LOOKS)


def _client() -> Store:
    """A connection of its own to the store that the launcher's variables name."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    patience = timedelta(seconds=SECONDS_BETWEEN_LOOKS * LOOKS_UNTIL_LOST)
    # A launcher that starts all processes again keeps its store.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    # torch exports its stores, which it documents, where distributed computing was built in.
    make_client, with_prefix = (getattr(dist, name) for name in ("TCPStore", "PrefixStore"))
    with lost_peers():
        client = make_client(host, port, is_master=False, timeout=patience, wait_for_workers=False)
    store: Store = with_prefix(f"vox-alive-{attempt}", client)
    return store


def _speak(watch: PeerWatch, over: Event) -> None:
    while not over.is_set():
        # What cannot be reached is noticed by the looks.
        with suppress(RuntimeError):
            watch.beat()
        over.wait(SECONDS_BETWEEN_LOOKS)
    watch.leave()


def _judge(
    watch: PeerWatch,
    over: Event,
    wait: float,
    on_lost: Callable[[PeerLostError], None] | None,
) -> None:
    while not over.wait(SECONDS_BETWEEN_LOOKS):
        lost = watch.look()
        if lost:
            time.sleep(wait)
            if on_lost is not None:
                seconds = round(SECONDS_BETWEEN_LOOKS * LOOKS_UNTIL_LOST)
                on_lost(PeerLostError(say.peer_silent(lost, seconds)))
            os._exit(1)
