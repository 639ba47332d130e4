"""The processes of a run over `torch.distributed`: the only module that speaks to the others."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from vox_populi.errors import EnvironmentFailure, PeerLostError, RunFailedError, first_line
from vox_populi.model.gathering import gather_into
from vox_populi.operator_messages import ranks as say
from vox_populi.train.addition_tree import sum_of_ranks

PATIENCE = timedelta(minutes=30)
"""How long a process waits for a peer that is alive: torch's own default. One that ends is
noticed at once."""

_LOST = ("gloo", "Connection closed", "Connection reset", "Broken pipe", "NCCL", "ncclRemoteError")
"""Words in the errors of a connection that broke; torch has no type for those of gloo."""


class GroupRanks:
    """`train.ranks.Ranks` over the default process group; made by `joined`.

    Attributes:
        word: Asked in each exchange what to tell the others: 0, or why this process should stop.
        heard: What the first process said that said something but 0, in the last exchange.
        in_step: Whether the base is divided over the processes.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.word: Callable[[], int] = lambda: 0
        self.heard = 0
        self.in_step = False

    def add(self, part: Tensor) -> Tensor:
        """Add the vectors of all processes; see `Ranks.add`."""
        size = self.size
        part[-size + self.rank] = float(self.word())
        short = -part.numel() % size
        padded = torch.nn.functional.pad(part, (0, short)) if short else part
        received = torch.empty_like(padded)
        total = torch.empty_like(padded)
        with lost_peers():
            dist.all_to_all_single(received, padded)
            own = sum_of_ranks(list(received.view(size, -1)))
            gather_into(total, own.contiguous())
        total = total[: part.numel()]
        self._hear(total[-size:].tolist())
        return total

    def agree(self) -> None:
        """Hear the others' words between exchanges."""
        self._hear([words[0] for words in self.collect([float(self.word())])])

    def collect(self, values: Sequence[float]) -> list[list[float]]:
        """The numbers of every process."""
        own = torch.tensor(values, dtype=torch.float64)
        return [each.tolist() for each in self._gather(own)]

    def require_same(self, parameters: Sequence[Tensor], step: int) -> None:
        """Compare the bytes of what is trained, by their hash; see `Ranks.require_same`."""
        digest = hashlib.sha256()
        for parameter in parameters:
            content = parameter.detach().cpu().contiguous().view(torch.uint8)
            digest.update(content.numpy().data)
        digests = self._digests(digest.digest())
        others = [rank for rank, each in enumerate(digests) if each != digests[0]]
        if others:
            raise RunFailedError(say.adapters_differ(step, others))

    def require_own_card(self, card: str) -> None:
        """Refuse to compute on one card with another process: NCCL takes no two.

        Args:
            card: The identifier of this process's card, which no other card has.

        Raises:
            EnvironmentFailure: With the processes of the first such card, in each of them.
        """
        digests = self._digests(hashlib.sha256(card.encode()).digest())
        for digest in digests:
            ranks = [rank for rank, each in enumerate(digests) if each == digest]
            if len(ranks) > 1:
                raise EnvironmentFailure(say.card_shared(ranks))

    def tell(self, document: Mapping[str, object] | None = None) -> dict[str, object]:
        """Send the first process's document to all; the others have none."""
        content = self._broadcast(b"" if document is None else json.dumps(document).encode())
        found: dict[str, object] = json.loads(content)
        return found

    def tell_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Send the first process's tensors to all, on the CPU; those of the others are ignored."""
        layout = self.tell(
            {name: [str(t.dtype).removeprefix("torch."), *t.shape] for name, t in tensors.items()}
        )
        given: dict[str, Tensor] = {}
        for name, form in layout.items():
            assert isinstance(form, list)
            kind, *shape = form
            like = torch.empty(shape, dtype=getattr(torch, kind))
            own = tensors[name].detach().cpu().contiguous() if self.rank == 0 else like
            given[name] = own
            with lost_peers():
                dist.broadcast(own.view(-1).view(torch.uint8), src=0)
        return given

    def wait(self) -> None:
        """Wait until every process is here."""
        self.collect([0.0])

    def _digests(self, own: bytes) -> list[bytes]:
        found = self._gather(torch.tensor(list(own), dtype=torch.uint8))
        return [bytes(each.tolist()) for each in found]

    def _hear(self, words: Sequence[float]) -> None:
        self.heard = next((int(word) for word in words if word), 0)

    def _gather(self, own: Tensor) -> list[Tensor]:
        found = [torch.empty_like(own) for _ in range(self.size)]
        with lost_peers():
            dist.all_gather(found, own)
        return found

    def _broadcast(self, content: bytes) -> bytes:
        with lost_peers():
            length = torch.tensor([len(content)])
            dist.broadcast(length, src=0)
            given = torch.zeros(int(length), dtype=torch.uint8)
            if self.rank == 0:
                given = torch.asarray(bytearray(content), dtype=torch.uint8)
            dist.broadcast(given, src=0)
        return bytes(given.tolist())


@contextmanager
def joined(size: int) -> Iterator[GroupRanks]:
    """Join the other processes, as the variables of the launcher say.

    Raises:
        EnvironmentFailure: When this build cannot, or they do not find each other.
    """
    if not dist.is_available():
        raise EnvironmentFailure(say.TORCH_WITHOUT_DISTRIBUTED)
    has_cuda = torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(card_of(os.environ, torch.cuda.device_count()))
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_cuda else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise EnvironmentFailure(say.peers_missing(size, first_line(error))) from error
    try:
        yield GroupRanks()
    finally:
        dist.destroy_process_group()


def card_of(variables: Mapping[str, str], n_cards: int) -> int:
    """The number of the card that a process computes on.

    Some launchers (Slurm with `--gpus-per-task`) show a process no card but its own, which is
    then number 0 whatever place the process has.

    Args:
        variables: The environment.
        n_cards: How many cards this process is shown.
    """
    return int(variables.get("LOCAL_RANK", "0")) % n_cards


@contextmanager
def lost_peers() -> Iterator[None]:
    """Turn the failure of a connection into a problem of the run.

    Raises:
        PeerLostError: When another process ended.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or any(word in str(error) for word in _LOST):
            raise PeerLostError(say.peer_lost(type(error).__name__)) from error
        raise
