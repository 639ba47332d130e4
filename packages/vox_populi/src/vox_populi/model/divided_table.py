"""Embeddings and head that several processes hold together, each some of the rows.

FSDP would gather a table twice: what the others sent, and its copy. Here the rows of all processes
are received where they are used: the head's all together, the embeddings' one process after the
other. Shape letters: V vocabulary, D model width, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from vox_populi.model.gathering import gather_into


class DividedTable(nn.Module):
    """A frozen table `[V, D]`, of which this process has one part.

    Attributes:
        weight: This process's rows, as many as every process has; the last rows of all may be
            padding.
    """

    def __init__(self, whole_VD: Tensor, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        self.rows = whole_VD.shape[0]
        size, rank = dist.get_world_size(), dist.get_rank()
        each = -(-self.rows // size)
        own = torch.zeros(each, whole_VD.shape[1], dtype=dtype, device=device)
        part = whole_VD[rank * each : (rank + 1) * each]
        own[: part.shape[0]] = part
        self.weight = nn.Parameter(own, requires_grad=False)

    @contextmanager
    def whole(self) -> Iterator[Tensor]:
        """All rows, for a block of code that every process runs at the same time."""
        own = self.weight.detach()
        padded = own.new_empty(own.shape[0] * dist.get_world_size(), own.shape[1])
        if own.is_cpu:
            # Gloo gathers into a copy of the result; a broadcast is received where it belongs.
            for rank, part in enumerate(padded.split(own.shape[0])):
                if rank == dist.get_rank():
                    part.copy_(own)
                dist.broadcast(part, src=rank)
        else:
            gather_into(padded, own)
        yield padded[: self.rows]

    def forward(self, ids_T: Tensor) -> Tensor:
        """The rows of some ids, `[T, D]`: an embedding. No process has the whole table for it."""
        own, rank = self.weight.detach(), dist.get_rank()
        each = own.shape[0]
        out_TD = own.new_empty(ids_T.shape[0], own.shape[1])
        received = torch.empty_like(own)
        for source in range(dist.get_world_size()):
            part = own if source == rank else received
            dist.broadcast(part, src=source)
            is_there_T = (ids_T >= source * each) & (ids_T < (source + 1) * each)
            # As many positions as tokens: none of it depends on what the ids are.
            rows_TD = F.embedding((ids_T - source * each).clamp(0, each - 1), part)
            out_TD = torch.where(is_there_T.unsqueeze(1), rows_TD, out_TD)
        return out_TD


@contextmanager
def whole_head(head: nn.Linear, table: DividedTable) -> Iterator[None]:
    """Set a head's weight to all rows of its table for a block of code.

    The loss makes its gradients in the forward pass, so that backward does not come back to it.
    """
    own = head.weight
    with table.whole() as weight_VD:
        head.weight = nn.Parameter(weight_VD, requires_grad=False)
        try:
            yield
        finally:
            head.weight = own


def empty_head(table: DividedTable) -> nn.Linear:
    """A head without a weight of its own, for `whole_head`."""
    head = nn.Linear(table.weight.shape[1], table.rows, bias=False, device="meta")
    head.weight = nn.Parameter(torch.empty(0, device=table.weight.device), requires_grad=False)
    return head
