"""A process that is not heard of: how many looks it takes, and how those that wait end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from vox_populi.train.peer_watch import LOOKS_UNTIL_LOST, PeerWatch

WAITS = """
import sys
from vox_populi.train import peer_watch
from vox_populi.train.process_group import joined
peer_watch.LOOKS_UNTIL_LOST = 3
rank = int(sys.argv[1])
def tell(error):
    print(error, flush=True)
with joined(2) as group, peer_watch.watched_peers(rank, 2, rank, tell):
    group.wait()
    print("together", flush=True)
    if rank == 0:
        group.wait()
    sys.stdin.read()
"""


class KeptHere:
    """A store in this process."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        self.values[key] = value

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [self.values.get(key, "").encode() for key in keys]


def pair() -> tuple[PeerWatch, PeerWatch]:
    store = KeptHere()
    return PeerWatch(store, 0, 2), PeerWatch(store, 1, 2)


def test_a_process_that_says_nothing_more_is_lost_after_so_many_looks() -> None:
    first, other = pair()
    other.beat()
    first.beat()
    assert [first.look() for _ in range(LOOKS_UNTIL_LOST + 1)] == [[]] * LOOKS_UNTIL_LOST + [[1]]
    other.beat()
    first.beat()
    assert first.look() == [], "it was only slow"


def test_a_process_that_is_heard_of_is_never_lost() -> None:
    first, other = pair()
    for _ in range(3 * LOOKS_UNTIL_LOST):
        other.beat()
        first.beat()
        assert first.look() == []


def test_a_process_that_has_left_is_not_missed() -> None:
    first, other = pair()
    other.beat()
    other.leave()
    first.beat()
    assert not any(first.look() for _ in range(3 * LOOKS_UNTIL_LOST))


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_process_that_waits_for_a_stopped_one_ends_with_the_reason() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    with ExitStack() as stack:
        first, other = (
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WAITS, str(rank)],
                    env={**os.environ, **settings, "RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for rank in range(2)
        )
        stack.callback(other.kill)
        stack.callback(first.kill)
        assert other.stdout is not None
        assert other.stdout.readline() == "together\n"
        other.send_signal(signal.SIGSTOP)
        said, _ = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "[MENS-R240] nothing was heard of process 1 of this run for 3 seconds" in said
